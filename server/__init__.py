"""The site runtime: domain core, shared image, OPC UA server, history and command line."""
