//! [`Reader`] and [`Tx`] as sqlx executors, so that stores take either.

use std::ops::{Deref, DerefMut};

use futures::{future::BoxFuture, stream::BoxStream};
use sqlx::{
    Any, AnyConnection, Either, Executor,
    any::{AnyQueryResult, AnyRow, AnyStatement, AnyTypeInfo},
};

use super::{Reader, Tx};

impl Deref for Reader {
    type Target = AnyConnection;
    fn deref(&self) -> &AnyConnection {
        &self.conn
    }
}

impl DerefMut for Reader {
    fn deref_mut(&mut self) -> &mut AnyConnection {
        &mut self.conn
    }
}

impl Deref for Tx {
    type Target = AnyConnection;
    fn deref(&self) -> &AnyConnection {
        &self.inner
    }
}

impl DerefMut for Tx {
    fn deref_mut(&mut self) -> &mut AnyConnection {
        &mut self.inner
    }
}

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
