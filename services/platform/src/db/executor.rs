//! [`Reader`] and [`Tx`] as sqlx executors, so that stores take either.

use std::ops::{Deref, DerefMut};

use futures::{future::BoxFuture, stream::BoxStream};
use sqlx::{
    Any, AnyConnection, Either, Executor,
    any::{AnyQueryResult, AnyRow, AnyStatement, AnyTypeInfo},
};

use super::{Reader, Tx};

macro_rules! deref_to_connection {
    ($name:ty) => {
        impl Deref for $name {
            type Target = AnyConnection;
            fn deref(&self) -> &AnyConnection {
                self.connection()
            }
        }

        impl DerefMut for $name {
            fn deref_mut(&mut self) -> &mut AnyConnection {
                self.connection_mut()
            }
        }
    };
}

deref_to_connection!(Tx);
deref_to_connection!(Reader);

macro_rules! executor_through_deref {
    ($name:ty) => {
        impl<'c> Executor<'c> for &'c mut $name {
            type Database = Any;

            fn fetch_many<'e, 'q: 'e, E>(
                self,
                query: E,
            ) -> BoxStream<'e, sqlx::Result<Either<AnyQueryResult, AnyRow>>>
            where
                'c: 'e,
                E: 'q + sqlx::Execute<'q, Any>,
            {
                (&mut **self).fetch_many(query)
            }

            fn fetch_optional<'e, 'q: 'e, E>(
                self,
                query: E,
            ) -> BoxFuture<'e, sqlx::Result<Option<AnyRow>>>
            where
                'c: 'e,
                E: 'q + sqlx::Execute<'q, Any>,
            {
                (&mut **self).fetch_optional(query)
            }

            fn prepare_with<'e>(
                self,
                sql: sqlx::SqlStr,
                parameters: &'e [AnyTypeInfo],
            ) -> BoxFuture<'e, sqlx::Result<AnyStatement>>
            where
                'c: 'e,
            {
                (&mut **self).prepare_with(sql, parameters)
            }
        }
    };
}

executor_through_deref!(Tx);
executor_through_deref!(Reader);
