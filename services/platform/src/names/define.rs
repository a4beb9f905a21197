//! The two shapes that most names have, written once: a root `collection/id`, and a child of another name.

/// A name without a parent.
macro_rules! root_name {
    ($(#[$doc:meta])* $name:ident, $collection:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name {
            id: $crate::names::Id,
        }

        impl $name {
            /// The name with this id, which is checked.
            pub fn new(id: &str) -> Result<Self, $crate::names::NameError> {
                Ok(Self { id: id.parse()? })
            }

            /// The last part of the name.
            pub fn id(&self) -> &str {
                self.id.as_str()
            }
        }

        impl $crate::names::ResourceName for $name {
            fn form() -> String {
                let singular = $collection.trim_end_matches('s');
                format!("{}/{{{singular}}}", $collection)
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, "{}/{}", $collection, self.id)
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::names::NameError;

            fn from_str(value: &str) -> Result<Self, Self::Err> {
                let form = <$name as $crate::names::ResourceName>::form();
                let (parent, id) = $crate::names::split(value, $collection, &form)?;
                if !parent.is_empty() || value.starts_with('/') {
                    let found = format!("found {}", $crate::names::shorten(value));
                    return Err($crate::names::NameError::new(&form, found));
                }
                Self::new(id).map_err(|error| $crate::names::NameError::new(&form, error.why))
            }
        }

        $crate::names::define::serde_as_text!($name);
    };
}

/// A name below another one; `=> ancestor` also gives access to the parent's parent.
macro_rules! child_name {
    (
        $(#[$doc:meta])*
        $name:ident { $parent:ident: $parent_type:ident $(=> $ancestor:ident: $ancestor_type:ident)? },
        $collection:literal, $id:ident, $placeholder:literal
    ) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name {
            $parent: $parent_type,
            id: $id,
        }

        impl $name {
            /// The name with this id below `parent`.
            pub fn from_parts(parent: &$parent_type, id: $id) -> Self {
                Self { $parent: parent.clone(), id }
            }

            /// The name with this id, which is checked, below `parent`.
            pub fn new(parent: &$parent_type, id: &str) -> Result<Self, $crate::names::NameError> {
                Ok(Self::from_parts(parent, $crate::names::id::parse_id::<$id>(id)?))
            }

            /// The name that this one is below.
            pub fn parent(&self) -> &$parent_type {
                &self.$parent
            }

            /// The name that this one is below.
            pub fn $parent(&self) -> &$parent_type {
                &self.$parent
            }

            $(
                /// The name two levels up.
                pub fn $ancestor(&self) -> &$ancestor_type {
                    self.$parent.$ancestor()
                }
            )?

            $crate::names::define::id_accessor!($id, $parent_type);
        }

        impl $crate::names::ResourceName for $name {
            fn form() -> String {
                let parent = <$parent_type as $crate::names::ResourceName>::form();
                format!("{parent}/{}/{}", $collection, $placeholder)
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, "{}/{}/{}", self.$parent, $collection, self.id)
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::names::NameError;

            fn from_str(value: &str) -> Result<Self, Self::Err> {
                let form = <$name as $crate::names::ResourceName>::form();
                let (parent, id) = $crate::names::split(value, $collection, &form)?;
                let wrong = |error: $crate::names::NameError| $crate::names::NameError::new(&form, error.why);
                Self::new(&parent.parse().map_err(wrong)?, id).map_err(wrong)
            }
        }

        $crate::names::define::serde_as_text!($name);
    };
}

/// `id()` as text where the id is stored as text, and as a UUID where it is one.
macro_rules! id_accessor {
    (Uuid, $parent_type:ident) => {
        /// The last part of the name.
        pub fn id(&self) -> uuid::Uuid {
            self.id
        }

        /// A new name below `parent`, with an id that sorts by the time of its making.
        pub fn generate(parent: &$parent_type) -> Self {
            Self::from_parts(parent, uuid::Uuid::now_v7())
        }
    };
    ($other:ident, $parent_type:ident) => {
        /// The last part of the name.
        pub fn id(&self) -> &str {
            self.id.as_str()
        }
    };
}

/// Reads and writes a name as a string.
macro_rules! serde_as_text {
    ($name:ident) => {
        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text =
                    <std::borrow::Cow<'de, str> as serde::Deserialize>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

pub(super) use {child_name, id_accessor, root_name, serde_as_text};
