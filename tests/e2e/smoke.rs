//! The smallest sign of life: the binary starts, says so, and stops.
