"""Pages to look at: each one HTML file that needs nothing beside it, no network, no server."""
