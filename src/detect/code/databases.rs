//! The databases that an application's settings name.

/// A database that needs a driver, and the one that Python has itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Database {
    /// PostgreSQL, and what speaks its protocol.
    Postgresql,
    /// MySQL or MariaDB.
    Mysql,
    /// SQLite, for which Python needs nothing.
    Sqlite,
}

impl Database {
    /// How people call it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Postgresql => "PostgreSQL",
            Self::Mysql => "MySQL or MariaDB",
            Self::Sqlite => "SQLite",
        }
    }

    /// Distributions that are drivers for it.
    pub(crate) fn drivers(self) -> &'static [&'static str] {
        match self {
            Self::Postgresql => &[
                "psycopg",
                "psycopg2",
                "psycopg2-binary",
                "psycopg-binary",
                "psycopg-c",
                "psycopg2cffi",
                "asyncpg",
                "pg8000",
                "aiopg",
            ],
            Self::Mysql => &[
                "mysqlclient",
                "pymysql",
                "mysql-connector-python",
                "mariadb",
                "aiomysql",
                "asyncmy",
            ],
            Self::Sqlite => &[],
        }
    }

    /// One that Django and SQLAlchemy take unasked.
    pub(crate) fn driver(self) -> &'static str {
        match self {
            Self::Postgresql => "psycopg2-binary",
            Self::Mysql => "mysqlclient",
            Self::Sqlite => "",
        }
    }
}

/// Backends of Django and the beginnings of addresses.
const NAMES: [(&str, Database); 12] = [
    ("django.db.backends.postgresql", Database::Postgresql),
    ("backends.postgis", Database::Postgresql),
    ("postgresql://", Database::Postgresql),
    ("postgres://", Database::Postgresql),
    ("postgresql+psycopg2://", Database::Postgresql),
    ("django.db.backends.mysql", Database::Mysql),
    ("mysql://", Database::Mysql),
    ("django.db.backends.sqlite3", Database::Sqlite),
    ("backends.spatialite", Database::Sqlite),
    ("sqlite://", Database::Sqlite),
    ("sqlite3.connect", Database::Sqlite),
    ("sqlite+", Database::Sqlite),
];

/// The databases that a module's lines name, comments left out.
pub(super) fn named(text: &str) -> impl Iterator<Item = Database> + '_ {
    let is_named = |name: &str| {
        text.contains(name)
            && text
                .lines()
                .any(|line| line.contains(name) && !line.trim_start().starts_with('#'))
    };
    NAMES
        .iter()
        .filter(move |(name, _)| is_named(name))
        .map(|(_, database)| *database)
}
