"""How are tokens tracked in a multi-agent graph? A question in plain words becomes SQL, and every token has a name."""
