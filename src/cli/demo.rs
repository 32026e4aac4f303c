pub mod spiffe;
