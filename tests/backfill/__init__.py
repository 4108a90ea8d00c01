"""Taking in what people have: real-looking exports, and what must be found in them."""
