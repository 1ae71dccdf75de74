"""What does a chat application with three modes look like? A program that shows where its tokens go."""
