//! The local index of segments and bases: a cache, rebuilt from a store whenever in doubt.
