"""What does one analysis of a share use? Six chains, four of them with charts, several analyses at once."""
