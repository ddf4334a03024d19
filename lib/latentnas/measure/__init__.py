"""How the bundled tables were measured, and how any of their rows is measured again."""
