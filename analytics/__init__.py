"""Services that work on the site's data as OPC UA clients."""
