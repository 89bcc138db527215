//! What the store in PostgreSQL alone promises: how it opens, and how records come into it.
