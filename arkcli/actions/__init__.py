"""What a user can ask for. Actions take what they need and know no screen."""
