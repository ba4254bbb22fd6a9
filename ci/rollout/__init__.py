"""How a packaged model takes over from the one that serves: decisions, and the places where it runs."""
