//! The ports of services: a block for each, the same on all hosts, which the lock keeps.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use jiff::civil::Date;
use jiff::{SpanTotal, Unit};

use pkgapp_core::error::{Error, Result};

use crate::lock::{PortBlock, RestingBlock};

/// The ports of a service: all of it that run on a host share the first, and the others are for
/// what it may need later.
const BLOCK: u16 = 4;

/// How long ports rest after their service has left, in days: clients may still have its address.
const REST_DAYS: f64 = 30.0;

/// The ports of a system's services.
#[derive(Debug)]
pub(crate) struct PortPool {
    /// The ports that services get.
    pool: RangeInclusive<u16>,
    /// Ports that no service gets, such as those of backing services.
    reserved: Vec<PortBlock>,
    /// The blocks of services.
    pub(crate) blocks: BTreeMap<String, PortBlock>,
    /// Blocks that no service uses any more.
    pub(crate) resting: BTreeMap<String, RestingBlock>,
    today: Date,
}

impl PortPool {
    /// A pool in which the services that are used keep the blocks of a lock; the blocks of all
    /// others rest.
    pub(crate) fn new(
        pool: RangeInclusive<u16>,
        locked: &BTreeMap<String, PortBlock>,
        resting: &BTreeMap<String, RestingBlock>,
        is_used: impl Fn(&str) -> bool,
        today: Date,
    ) -> Self {
        let mut all = Self {
            pool,
            reserved: Vec::new(),
            blocks: BTreeMap::new(),
            resting: BTreeMap::new(),
            today,
        };
        for (name, block) in resting {
            if is_resting(block.since, today) {
                all.resting.insert(name.clone(), *block);
            }
        }
        for (name, block) in locked {
            if is_used(name) {
                all.blocks.insert(name.clone(), *block);
            } else {
                all.lay_to_rest(name.clone(), *block);
            }
        }
        all
    }

    /// Keeps ports from being given to services.
    pub(crate) fn reserve(&mut self, block: PortBlock) {
        self.reserved.push(block);
    }

    /// Gives a service ports that the model chose.
    pub(crate) fn assign(&mut self, name: &str, block: PortBlock) {
        match self.blocks.insert(name.to_owned(), block) {
            Some(old) if old != block => self.lay_to_rest(name.to_owned(), old),
            _ => {}
        }
    }

    /// Gives a service ports: those that it has or had, if they are free.
    ///
    /// # Errors
    /// The pool has no free block.
    pub(crate) fn allocate(&mut self, name: &str) -> Result<PortBlock> {
        let had = self.blocks.remove(name);
        let rested = self.resting.remove(name);
        // A port that the model chose once may be one of those that rest.
        let stays = had.filter(|block| self.used(*block).is_none());
        let known = stays.or_else(|| {
            let rested = rested.map(|resting| resting.block);
            rested.filter(|block| self.is_free(*block))
        });
        let block = match known {
            Some(block) => block,
            None => self.free_block(name)?,
        };
        if let Some(resting) = rested.filter(|resting| !resting.block.overlaps(block)) {
            self.resting.insert(name.to_owned(), resting);
        }
        if let Some(old) = had.filter(|old| !old.overlaps(block)) {
            self.lay_to_rest(name.to_owned(), old);
        }
        self.blocks.insert(name.to_owned(), block);
        Ok(block)
    }

    fn lay_to_rest(&mut self, name: String, block: PortBlock) {
        let since = self.today;
        self.resting.insert(name, RestingBlock { block, since });
    }

    /// Returns the first block of the pool that nothing uses.
    fn free_block(&self, name: &str) -> Result<PortBlock> {
        let size = BLOCK;
        let (mut first, last) = (u32::from(*self.pool.start()), u32::from(*self.pool.end()));
        while first + u32::from(size) <= last + 1 {
            let Ok(start) = u16::try_from(first) else {
                break;
            };
            let block = PortBlock { first: start, size };
            match self.in_the_way(block) {
                Some(other) => first = other.ports().end,
                None => return Ok(block),
            }
        }
        let (from, to) = (self.pool.start(), self.pool.end());
        let error = Error::new(format!(
            "there are no {size} consecutive ports left for `{name}` in {from}-{to}"
        ));
        Err(error.hint("give the system a larger range with `ports` below `[system]`"))
    }

    fn is_free(&self, block: PortBlock) -> bool {
        self.in_the_way(block).is_none() && block.ports().end <= u32::from(u16::MAX) + 1
    }

    /// Returns a block that has a port of this one, and is in use or rests.
    fn in_the_way(&self, block: PortBlock) -> Option<PortBlock> {
        let resting = self.resting.values().map(|resting| resting.block);
        let mut resting = resting.filter(|other| other.overlaps(block));
        self.used(block).or_else(|| resting.next())
    }

    /// Returns a block in use that has a port of this one.
    fn used(&self, block: PortBlock) -> Option<PortBlock> {
        let used = self.blocks.values().chain(&self.reserved).copied();
        let mut used = used.filter(|other| other.overlaps(block));
        used.next()
    }
}

fn is_resting(since: Date, today: Date) -> bool {
    let options = SpanTotal::from(Unit::Day).days_are_24_hours();
    let days = (today - since).total(options);
    // A date that nobody can compute with is one of a lock that somebody has edited.
    days.is_ok_and(|days| days < REST_DAYS)
}
