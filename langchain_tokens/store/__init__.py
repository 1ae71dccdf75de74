"""Where is it kept? Tables, queries and migrations; the only part of the package that knows SQL."""
