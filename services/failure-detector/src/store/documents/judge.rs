//! What a judge has counted.

use std::collections::BTreeMap;

use prost::Message;

use super::Document;
use crate::domain::books::Position;
use crate::store::Corrupt;

/// What the next judge of an endpoint has to know beside the watches.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct JudgeState {
    /// Up to where the books of other replicas are in the stored evidence, by their instance.
    pub positions: BTreeMap<String, Position>,
    /// Proxies that were connected to any replica.
    pub nodes: Vec<String>,
}

#[derive(Clone, PartialEq, Message)]
pub struct PositionMessage {
    #[prost(string, tag = "1")]
    replica: String,
    #[prost(uint64, tag = "2")]
    book: u64,
    #[prost(uint64, tag = "3")]
    number: u64,
}

#[derive(Clone, PartialEq, Message)]
pub struct JudgeMessage {
    #[prost(message, repeated, tag = "1")]
    positions: Vec<PositionMessage>,
    #[prost(string, repeated, tag = "2")]
    nodes: Vec<String>,
}

impl Document for JudgeState {
    type Message = JudgeMessage;

    fn to_message(&self) -> JudgeMessage {
        let position = |(replica, position): (&String, &Position)| PositionMessage {
            replica: replica.clone(),
            book: position.book,
            number: position.number,
        };
        JudgeMessage {
            positions: self.positions.iter().map(position).collect(),
            nodes: self.nodes.clone(),
        }
    }

    fn from_message(message: JudgeMessage) -> Result<Self, Corrupt> {
        let position = |message: PositionMessage| {
            let position = Position {
                book: message.book,
                number: message.number,
            };
            (message.replica, position)
        };
        Ok(Self {
            positions: message.positions.into_iter().map(position).collect(),
            nodes: message.nodes,
        })
    }
}
