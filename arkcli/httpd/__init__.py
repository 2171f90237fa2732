"""The way in: an HTTP/1.1 server that bounds everything."""
