//! recorder (to be written).
