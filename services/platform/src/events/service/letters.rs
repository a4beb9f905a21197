//! `ListDeadLetters` and `ReplayDeadLetter`.

use slipway_proto::event::v1::{
    DeadLetter, ListDeadLettersRequest, ListDeadLettersResponse, ReplayDeadLetterRequest,
};
use uuid::Uuid;

use super::{EventService, convert};
use crate::{
    Error, Result,
    events::dead_letters::{replay, store},
    filter::Filter,
    paging::Page,
};

impl EventService {
    pub(super) async fn list(
        &self,
        request: ListDeadLettersRequest,
    ) -> Result<ListDeadLettersResponse> {
        let filter = Filter::parse(&request.filter, store::FIELDS)?;
        let page = Page::parse(request.page_size, &request.page_token, &[&request.filter])?;
        let after = page.after().map(place).transpose()?;
        let mut reader = self.db.read().await?;
        let letters = store::list(&mut reader, &filter, after, page.limit()).await?;
        let (letters, next_page_token) = page.cut_to_fit(
            letters,
            |letter| letter.bytes(),
            |letter| letter.id.to_string(),
        );
        Ok(ListDeadLettersResponse {
            dead_letters: letters.into_iter().map(convert::dead_letter).collect(),
            next_page_token,
        })
    }

    pub(super) async fn replay(&self, request: ReplayDeadLetterRequest) -> Result<DeadLetter> {
        let id = request
            .name
            .strip_prefix("deadLetters/")
            .and_then(|id| id.parse().ok())
            .ok_or_else(|| Error::invalid("name", "must have the form deadLetters/{uuid}"))?;
        let letter = replay::replay(&self.db, &self.consumers, &self.clock, id).await?;
        Ok(convert::dead_letter(letter))
    }
}

fn place(text: &str) -> Result<Uuid> {
    text.parse()
        .map_err(|_| Error::invalid("page_token", "is not a token that this service gave"))
}
