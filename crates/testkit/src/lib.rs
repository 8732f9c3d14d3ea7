//! Test helpers for codecs and machines: split sweeps, laws, scripted pipes, a virtual clock.
