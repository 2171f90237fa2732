"""The actions behind the commands. They take what they need as arguments and print nothing."""
