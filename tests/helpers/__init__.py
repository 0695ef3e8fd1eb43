"""What several test files use: images, folders of them, and ways to run code."""
