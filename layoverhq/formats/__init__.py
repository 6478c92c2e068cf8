"""How dates and times are written: as ISO 8601 does, whatever the language."""
