"""What does an application with langchain_tokens look like? Programs that run from the repository root."""
