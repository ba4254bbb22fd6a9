"""How a packaged model replaces the model that serves: decisions, and the places where versions run."""
