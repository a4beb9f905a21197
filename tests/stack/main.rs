//! Stories on the real stack: PostgreSQL, Kafka, Envoy, and every service as a process of its own.
//!
//! `deploy/local/stack test` starts the servers and runs them. Each has database schemas, topics, consumer groups
//! and a folder of its own; those that stop a server wait until they are alone.

mod alerts;
mod bad_messages;
mod bad_settings;
mod consumer_starts_again_from_the_beginning;
mod demo;
mod envoy_refuses;
mod envoys;
mod event_versions;
mod five_programs;
mod kafka_asks_who;
mod kafka_is_away;
mod killed_at_random_moments;
mod one_trace;
mod postgres_restarts;
mod replicas;
