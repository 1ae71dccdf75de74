"""What does each component of a clinical pipeline use? Two components, a cache, a provider without LangChain."""
