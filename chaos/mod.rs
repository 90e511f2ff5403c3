//! Faults on purpose: a seed, a world, and the laws that must hold in it.
