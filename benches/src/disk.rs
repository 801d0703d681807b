//! Who keeps records on disk besides us: the bare system calls, and what others have published. Everybody keeps the same: a
//! record of 256 bytes, in order.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Mutex;

/// Bytes of a record.
pub const RECORD: usize = 256;
/// A length before each record, for those who need one to find the next.
const FRAMED: usize = RECORD + 8;

pub static PAYLOAD: [u8; RECORD] = [0x5a; RECORD];

/// A file, and nothing else: what no log can be faster than.
pub struct Raw {
    file: File,
    end: Mutex<u64>,
}

impl Raw {
    /// With room for so many records, of zeros that are on disk.
    pub fn new(directory: &Path, records: u64) -> Self {
        let options = File::options().read(true).write(true).create_new(true).clone();
        let file = options.open(directory.join("raw")).expect("a file can be made");
        let zeros = vec![0; 1 << 20];
        let len = records * FRAMED as u64;
        (0..len.div_ceil(1 << 20)).for_each(|at| file.write_all_at(&zeros, at << 20).expect("it is written"));
        file.sync_all().expect("it is synced");
        Self { file, end: Mutex::new(0) }
    }

    /// Writes so many records in one piece, and syncs if asked.
    pub fn write(&self, pieces: &[u8], sync: bool) {
        let mut end = self.end.lock().expect("nobody panics");
        self.file.write_all_at(pieces, *end).expect("it is written");
        *end += pieces.len() as u64;
        if sync {
            self.file.sync_data().expect("it is synced");
        }
    }
}

/// So many records as bytes.
pub fn framed(records: usize) -> Vec<u8> {
    vec![0x5a; records * FRAMED]
}

#[cfg(feature = "disk")]
pub use published::*;

#[cfg(feature = "disk")]
mod published {
    use std::path::Path;
    use std::sync::Mutex;

    use fjall::{KeyspaceCreateOptions, PersistMode};
    use okaywal::{EntryId, LogVoid, WriteAheadLog};
    use redb::{Durability, TableDefinition};

    use super::PAYLOAD;

    /// What a rival does: records, several as one, and a sync or none.
    pub trait Keeps: Sync {
        fn append(&self, records: u64, sync: bool);
    }

    /// One file, one writer.
    pub struct Seglog(Mutex<seglog::write::Writer<0>>);

    impl Seglog {
        pub fn new(directory: &Path, bytes: usize) -> Self {
            let writer = seglog::write::Writer::create(directory.join("segment"), bytes, 64).expect("it is made");
            Self(Mutex::new(writer))
        }
    }

    impl Keeps for Seglog {
        fn append(&self, records: u64, sync: bool) {
            let mut writer = self.0.lock().expect("nobody panics");
            (0..records).for_each(|_| _ = writer.append(&[], &PAYLOAD).expect("there is room"));
            if sync {
                writer.sync().expect("it is synced");
            }
        }
    }

    impl Seglog {
        /// Hands everything to the system.
        pub fn flush(&self) {
            self.0.lock().expect("nobody panics").flush_writer().expect("it is written");
        }
    }

    /// A write-ahead log, which has no commit without a sync.
    pub struct Okaywal(WriteAheadLog);

    impl Okaywal {
        pub fn new(directory: &Path) -> Self {
            Self(WriteAheadLog::recover(directory.join("wal"), LogVoid).expect("it is made"))
        }
    }

    impl Keeps for Okaywal {
        fn append(&self, records: u64, _sync: bool) {
            let mut entry = self.0.begin_entry().expect("it begins");
            (0..records).for_each(|_| _ = entry.write_chunk(&PAYLOAD).expect("it is written"));
            let _: EntryId = entry.commit().expect("it is synced");
        }
    }

    /// A log-structured tree; the keys are numbers.
    pub struct Fjall {
        database: fjall::Database,
        keyspace: fjall::Keyspace,
        next: Mutex<u64>,
    }

    impl Fjall {
        pub fn new(directory: &Path) -> Self {
            let database = fjall::Database::builder(directory.join("fjall")).open().expect("it is made");
            let keyspace = database.keyspace("records", KeyspaceCreateOptions::default).expect("it is made");
            Self { database, keyspace, next: Mutex::new(0) }
        }
    }

    impl Keeps for Fjall {
        fn append(&self, records: u64, sync: bool) {
            let mut batch = self.database.batch();
            let mut next = self.next.lock().expect("nobody panics");
            for _ in 0..records {
                *next += 1;
                batch.insert(&self.keyspace, next.to_be_bytes(), PAYLOAD);
            }
            drop(next);
            batch.commit().expect("it is written");
            if sync {
                self.database.persist(PersistMode::SyncData).expect("it is synced");
            }
        }
    }

    const TABLE: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("records");

    /// A copy-on-write tree.
    pub struct Redb {
        database: redb::Database,
        next: Mutex<u64>,
    }

    impl Redb {
        pub fn new(directory: &Path) -> Self {
            let database = redb::Database::create(directory.join("redb")).expect("it is made");
            Self { database, next: Mutex::new(0) }
        }
    }

    impl Keeps for Redb {
        fn append(&self, records: u64, sync: bool) {
            let mut transaction = self.database.begin_write().expect("it begins");
            let durability = if sync { Durability::Immediate } else { Durability::None };
            transaction.set_durability(durability).expect("it may");
            {
                let mut table = transaction.open_table(TABLE).expect("it is there");
                let mut next = self.next.lock().expect("nobody panics");
                for _ in 0..records {
                    *next += 1;
                    table.insert(*next, &PAYLOAD[..]).expect("it is written");
                }
            }
            transaction.commit().expect("it is committed");
        }
    }

    /// With a write-ahead log, synced at each commit.
    pub struct Sqlite(Mutex<rusqlite::Connection>);

    impl Sqlite {
        pub fn new(directory: &Path) -> Self {
            let connection = rusqlite::Connection::open(directory.join("sqlite")).expect("it is made");
            connection
                .execute_batch(
                    "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; CREATE TABLE records (id INTEGER PRIMARY KEY, it BLOB)",
                )
                .expect("it may");
            Self(Mutex::new(connection))
        }
    }

    impl Keeps for Sqlite {
        fn append(&self, records: u64, sync: bool) {
            let connection = self.0.lock().expect("nobody panics");
            let run = |sql: &str| connection.execute_batch(sql).expect("it may");
            if !sync {
                run("PRAGMA synchronous=OFF");
            }
            run("BEGIN");
            let mut insert = connection.prepare_cached("INSERT INTO records (it) VALUES (?)").expect("it is SQL");
            (0..records).for_each(|_| _ = insert.execute([&PAYLOAD[..]]).expect("it is written"));
            run("COMMIT");
        }
    }
}
