//! Notification channels.

use slipway_platform::{
    Error, Result, Violations,
    config::Secret,
    etag,
    names::{self, ChannelName, EnvironmentName},
    paging::Page,
    requests,
};
use slipway_proto::detector::v1::*;

use super::show;
use crate::delivery;
use crate::domain::channel::Target;
use crate::service::{ChannelWish, FailureDetector};

const REASON_LENGTH_MAX: usize = 1_024;
const SWITCHED_OFF: &str = "switched off by a person";

/// `ApplyChannel`.
pub async fn apply(
    detector: &FailureDetector,
    mut request: ApplyChannelRequest,
) -> Result<Channel> {
    let request_id = std::mem::take(&mut request.request_id);
    let fingerprint = requests::fingerprint(&request)?;
    let message = request.channel.unwrap_or_default();
    let mut violations = Violations::new();
    let name: Option<ChannelName> = names::parse("channel.name", &message.name, &mut violations);
    let environment: Option<EnvironmentName> = if message.environment.is_empty() {
        None
    } else {
        names::parse("channel.environment", &message.environment, &mut violations)
    };
    let target = match message.kind {
        Some(channel::Kind::Webhook(webhook)) => Some(Target::Webhook {
            url: Secret::new(webhook.url),
            signing: Secret::new(webhook.secret),
        }),
        Some(channel::Kind::Teams(teams)) => Some(Target::Teams {
            url: Secret::new(teams.url),
        }),
        None => {
            violations.push("channel.kind", "must be webhook or teams");
            None
        }
    };
    let short = message.disabled_reason.len() <= REASON_LENGTH_MAX;
    violations.require(
        short,
        "channel.disabled_reason",
        "must have at most 1,024 bytes",
    );
    let expected = etag::parse("channel.etag", &message.etag, &mut violations);
    violations.into_result()?;
    let (Some(name), Some(target)) = (name, target) else {
        return Err(Error::invalid("channel", "is incomplete"));
    };
    let reason = if message.disabled_reason.is_empty() {
        SWITCHED_OFF.to_owned()
    } else {
        message.disabled_reason
    };
    let wish = ChannelWish {
        name,
        environment,
        target,
        disabled: message.disabled.then_some(reason),
        expected,
        request_id,
        fingerprint,
    };
    Ok(show::channel(
        &detector.apply_channel(wish, delivery::check).await?,
    ))
}

/// `ListChannels`.
pub async fn list(
    detector: &FailureDetector,
    request: ListChannelsRequest,
) -> Result<ListChannelsResponse> {
    let page = Page::parse(request.page_size, &request.page_token, &["channels"])?;
    let (channels, next_page_token) = detector.channels(&page).await?;
    Ok(ListChannelsResponse {
        channels: channels.iter().map(show::channel).collect(),
        next_page_token,
    })
}

/// `DeleteChannel`.
pub async fn delete(
    detector: &FailureDetector,
    request: DeleteChannelRequest,
) -> Result<DeleteChannelResponse> {
    detector.delete_channel(&parse(&request.name)?).await?;
    Ok(DeleteChannelResponse {})
}

/// `TestChannel`.
pub async fn test(detector: &FailureDetector, request: TestChannelRequest) -> Result<Delivery> {
    Ok(show::delivery(
        &detector.test_channel(&parse(&request.name)?).await?,
    ))
}

/// `ListDeliveries`.
pub async fn deliveries(
    detector: &FailureDetector,
    request: ListDeliveriesRequest,
) -> Result<ListDeliveriesResponse> {
    let channel = if request.channel.is_empty() {
        None
    } else {
        Some(parse(&request.channel)?)
    };
    let page = Page::parse(
        request.page_size,
        &request.page_token,
        &["deliveries", &request.channel],
    )?;
    let (rows, next_page_token) = detector.deliveries(channel.as_ref(), &page).await?;
    Ok(ListDeliveriesResponse {
        deliveries: rows.iter().map(show::delivery).collect(),
        next_page_token,
    })
}

fn parse(name: &str) -> Result<ChannelName> {
    let mut violations = Violations::new();
    let parsed = names::parse("name", name, &mut violations);
    violations.into_result()?;
    parsed.ok_or_else(|| Error::invalid("name", "is missing"))
}
