//! The configuration: written loosely, used strictly, and all its complaints at once.
