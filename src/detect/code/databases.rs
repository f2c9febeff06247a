//! The databases that an application's settings name.

/// A database that needs a driver, or SQLite, which Python includes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Database {
    /// PostgreSQL and databases with its protocol.
    Postgresql,
    /// MySQL or MariaDB.
    Mysql,
    /// SQLite, for which Python needs no driver.
    Sqlite,
}

impl Database {
    /// Returns the usual name of the database.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Postgresql => "PostgreSQL",
            Self::Mysql => "MySQL or MariaDB",
            Self::Sqlite => "SQLite",
        }
    }

    /// Returns the distributions that are drivers for the database.
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

    /// Returns a driver that Django and SQLAlchemy use by default.
    pub(crate) fn driver(self) -> &'static str {
        match self {
            Self::Postgresql => "psycopg2-binary",
            Self::Mysql => "mysqlclient",
            Self::Sqlite => "",
        }
    }
}

/// Backends of Django, and beginnings of database URLs.
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

/// Iterates over the databases that a module names outside of comments.
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
