//! Inventory (to be written).
