"""An HTTP/1.1 server with a limit on everything a client can use up."""
