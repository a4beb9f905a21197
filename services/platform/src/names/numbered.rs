//! Names that end in a number given by the server: versions and revisions.

use std::fmt;
use std::str::FromStr;

use super::define::serde_as_text;
use super::{
    EndpointName, EnvironmentName, ModelName, NameError, ResourceName, WorkspaceName, shorten,
    split,
};

/// The greatest version number: what a BIGINT column holds.
const VERSION_MAX: u64 = i64::MAX as u64;

/// An immutable, numbered member of a model: `workspaces/{workspace}/models/{model}/versions/{n}`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VersionName {
    model: ModelName,
    number: u64,
}

impl VersionName {
    /// Version `number` of `model`. A number outside of 1 to 2^63 − 1 is no version, and fails.
    pub fn new(model: &ModelName, number: u64) -> Result<Self, NameError> {
        if (1..=VERSION_MAX).contains(&number) {
            Ok(Self {
                model: model.clone(),
                number,
            })
        } else {
            Err(NameError::new(
                &Self::form(),
                format!("{number} is no version number; they begin at 1"),
            ))
        }
    }

    /// The model of which this is a version.
    pub fn parent(&self) -> &ModelName {
        &self.model
    }

    /// The model of which this is a version.
    pub fn model(&self) -> &ModelName {
        &self.model
    }

    /// The workspace of the model.
    pub fn workspace(&self) -> &WorkspaceName {
        self.model.workspace()
    }

    /// The number, from 1.
    pub fn number(&self) -> u64 {
        self.number
    }
}

impl ResourceName for VersionName {
    fn form() -> String {
        format!("{}/versions/{{number}}", ModelName::form())
    }
}

impl fmt::Display for VersionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/versions/{}", self.model, self.number)
    }
}

impl FromStr for VersionName {
    type Err = NameError;

    fn from_str(value: &str) -> Result<Self, NameError> {
        let form = Self::form();
        let (parent, id) = split(value, "versions", &form)?;
        let wrong = |error: NameError| NameError::new(&form, error.why);
        let model = parent.parse().map_err(wrong)?;
        match id.parse::<u64>() {
            Ok(number) if number.to_string() == id => Self::new(&model, number),
            _ => Err(NameError::new(
                &form,
                format!("{} is not a version number", shorten(id)),
            )),
        }
    }
}

serde_as_text!(VersionName);

/// An immutable snapshot of what an endpoint runs:
/// `environments/{environment}/endpoints/{endpoint}/revisions/{endpoint}-{00012}`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RevisionName {
    endpoint: EndpointName,
    number: u32,
}

impl RevisionName {
    /// Revision `number` of `endpoint`. Zero is no revision, and fails.
    pub fn new(endpoint: &EndpointName, number: u32) -> Result<Self, NameError> {
        if number == 0 {
            return Err(NameError::new(&Self::form(), "revision numbers begin at 1"));
        }
        Ok(Self {
            endpoint: endpoint.clone(),
            number,
        })
    }

    /// The endpoint's revision of this id, such as `tumor-00002`.
    pub fn from_id(endpoint: &EndpointName, id: &str) -> Result<Self, NameError> {
        let digits = id
            .strip_prefix(endpoint.id())
            .and_then(|rest| rest.strip_prefix('-'));
        let number = digits.and_then(|d| d.parse::<u32>().ok()).unwrap_or(0);
        let name = Self::new(endpoint, number);
        match name {
            Ok(name) if name.id() == id => Ok(name),
            _ => {
                let why = format!("{} is not {}- and five digits", shorten(id), endpoint.id());
                Err(NameError::new(&Self::form(), why))
            }
        }
    }

    /// The endpoint that this revision belongs to.
    pub fn parent(&self) -> &EndpointName {
        &self.endpoint
    }

    /// The endpoint that this revision belongs to.
    pub fn endpoint(&self) -> &EndpointName {
        &self.endpoint
    }

    /// The environment of the endpoint.
    pub fn environment(&self) -> &EnvironmentName {
        self.endpoint.environment()
    }

    /// The number, from 1.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// The last part of the name, such as `tumor-00002`.
    pub fn id(&self) -> String {
        format!("{}-{:05}", self.endpoint.id(), self.number)
    }
}

impl ResourceName for RevisionName {
    fn form() -> String {
        format!("{}/revisions/{{endpoint}}-{{00001}}", EndpointName::form())
    }
}

impl fmt::Display for RevisionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/revisions/{}", self.endpoint, self.id())
    }
}

impl FromStr for RevisionName {
    type Err = NameError;

    fn from_str(value: &str) -> Result<Self, NameError> {
        let form = Self::form();
        let (parent, id) = split(value, "revisions", &form)?;
        let endpoint = parent
            .parse()
            .map_err(|error: NameError| NameError::new(&form, error.why))?;
        Self::from_id(&endpoint, id)
    }
}

serde_as_text!(RevisionName);
