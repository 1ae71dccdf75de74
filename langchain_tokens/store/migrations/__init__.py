"""The steps of the schema, in order; its only source."""
