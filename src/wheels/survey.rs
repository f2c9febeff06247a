//! Finds the available files of every pin for several environments, by asking the indexes without
//! downloading or building anything.

use std::collections::BTreeMap;
use std::path::Path;

use pkgapp_pypa::DistFilename;

use super::choice::{FailedSearch, FileRequest, is_compiled, label};
use super::fetch::distinct;
use super::find::{direct_offer, locked_offers, wanted};
use super::index::{FileOffer, IndexClient};
use pkgapp_core::cache::Cache;
use pkgapp_core::error::{Error, Result};
use pkgapp_core::parallel;
use pkgapp_core::report::{ProgressUnit, Report};
use pkgapp_http::percent_decoded;
use pkgapp_lock::index::PlaceId;
use pkgapp_lock::{Lock, Pin, PinSource};
use pkgapp_pypa::{Environment, PackageName};

/// The number of pins that are searched at a time.
const AT_A_TIME: usize = 8;

/// A file or project from which a pin can be installed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Availability {
    /// A wheel for the platform.
    Wheel(String),
    /// A wheel for all platforms.
    Pure(String),
    /// Only an sdist, which is built on this machine.
    Sdist(String),
    /// A local project or a repository, which is built on this machine.
    Project,
}

impl Availability {
    /// Returns its name in a table.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Wheel(_) => "wheel",
            Self::Pure(_) => "pure",
            Self::Sdist(_) => "sdist",
            Self::Project => "project",
        }
    }

    /// Returns the file's name.
    pub fn file(&self) -> Option<&str> {
        match self {
            Self::Wheel(file) | Self::Pure(file) | Self::Sdist(file) => Some(file),
            Self::Project => None,
        }
    }

    fn of(offer: &FileOffer) -> Self {
        match &offer.dist {
            DistFilename::SourceDistFilename(_) => Self::Sdist(offer.file.clone()),
            DistFilename::WheelFilename(wheel) if is_compiled(wheel) => {
                Self::Wheel(offer.file.clone())
            }
            DistFilename::WheelFilename(_) => Self::Pure(offer.file.clone()),
        }
    }
}

/// The availability of a distribution in an environment.
pub type SurveyCell = Option<Result<Availability>>;

/// A distribution with its availability in each environment: an error if nothing matches, `None` if
/// it is not required there.
#[derive(Debug)]
pub struct SurveyRow {
    /// Its name.
    pub name: PackageName,
    /// Its version; only the name if the lock has no version.
    pub label: String,
    /// In the order of the environments.
    pub cells: Vec<SurveyCell>,
}

/// Looks for every pin of every lock; the locks are readings of the same files for different
/// environments.
///
/// # Errors
/// Fails if an index does not respond. Missing files are not errors: see [`SurveyRow`].
pub fn survey(
    columns: &[(Environment, Lock)],
    cache: &Cache,
    offline: bool,
    report: &Report,
) -> Result<Vec<SurveyRow>> {
    let Some((_, first)) = columns.first() else {
        return Ok(Vec::new());
    };
    let client = IndexClient::new(&first.indexes, cache, offline)?;
    let rows = rows_of(columns);
    let progress = report.progress("looking", rows.len() as u64, ProgressUnit::Things);
    let found = parallel::map(&rows, AT_A_TIME, |((name, _), pins)| {
        let cells = SurveySearch {
            client: &client,
            name,
            pages: Vec::new(),
        }
        .look(columns, pins);
        progress.advance(1);
        cells
    });
    table_of(rows, found)
}

/// Joins rows with their cells, or returns the errors of indexes.
fn table_of(rows: Vec<PinRow<'_>>, found: Vec<Result<Vec<SurveyCell>>>) -> Result<Vec<SurveyRow>> {
    let (mut table, mut errors) = (Vec::new(), Vec::new());
    for (((name, label), pins), cells) in rows.into_iter().zip(found) {
        match (cells, pins.iter().find_map(|pin| *pin)) {
            (Ok(cells), _) => table.push(SurveyRow { name, label, cells }),
            (Err(error), Some(pin)) => errors.push((pin, error)),
            (Err(error), None) => return Err(error),
        }
    }
    Error::all(distinct(errors)).map_or(Ok(table), Err)
}

/// A distribution by name and label, with its pin in each column.
type PinRow<'a> = ((PackageName, String), Vec<Option<&'a Pin>>);

fn rows_of(columns: &[(Environment, Lock)]) -> Vec<PinRow<'_>> {
    let mut rows: BTreeMap<(PackageName, String), Vec<Option<&Pin>>> = BTreeMap::new();
    for (number, (_, lock)) in columns.iter().enumerate() {
        for pin in &lock.pins {
            let row = rows
                .entry((pin.name.clone(), label(pin)))
                .or_insert_with(|| vec![None; columns.len()]);
            row[number] = Some(pin);
        }
    }
    rows.into_iter().collect()
}

/// The search for one distribution, which asks each place once.
struct SurveySearch<'a> {
    client: &'a IndexClient<'a>,
    name: &'a PackageName,
    pages: Vec<(PlaceId, Vec<FileOffer>)>,
}

impl SurveySearch<'_> {
    fn look(
        mut self,
        columns: &[(Environment, Lock)],
        pins: &[Option<&Pin>],
    ) -> Result<Vec<SurveyCell>> {
        let mut cells = Vec::new();
        for ((environment, lock), pin) in columns.iter().zip(pins) {
            cells.push(match pin {
                Some(pin) => Some(self.cell(pin, lock, environment)?),
                None => None,
            });
        }
        Ok(cells)
    }

    /// Returns the availability of a pin; the outer error is that of an index.
    fn cell(
        &mut self,
        pin: &Pin,
        lock: &Lock,
        environment: &Environment,
    ) -> Result<Result<Availability>> {
        let wanted = wanted(pin, lock, environment);
        Ok(match &pin.source {
            PinSource::Directory(_) | PinSource::Git(_) | PinSource::Mercurial(_) => {
                Ok(Availability::Project)
            }
            PinSource::File(path) => offer_of_file(pin, path)
                .and_then(|offer| best(&wanted, vec![offer], FailedSearch::default())),
            PinSource::Url(url) => {
                let name = url
                    .path_segments()
                    .and_then(|mut segments| segments.next_back())
                    .unwrap_or_default();
                direct_offer(pin, &percent_decoded(name), url.clone(), pin.hashes.clone())
                    .and_then(|offer| best(&wanted, vec![offer], FailedSearch::default()))
            }
            PinSource::Files(files) => {
                let wanted = FileRequest {
                    require_hashes: false,
                    ..wanted
                };
                locked_offers(pin, files, lock.require_hashes)
                    .and_then(|(offers, search)| best(&wanted, offers, search))
            }
            PinSource::Index => self.indexed(&wanted)?,
        })
    }

    /// As in a build, the first place with a matching file decides, and the first index that knows
    /// the name.
    fn indexed(&mut self, wanted: &FileRequest<'_>) -> Result<Result<Availability>> {
        let mut search = FailedSearch::default();
        let mut places = wanted.indexes.places(self.name).into_iter().peekable();
        while let Some(place) = places.next() {
            let offers = self.offers(&place)?;
            search.places.push(self.client.place_name(&place));
            search.knows = !offers.is_empty();
            search
                .versions
                .extend(offers.iter().map(|offer| offer.dist.version().clone()));
            let (fit, unfit) = wanted.sort(offers);
            search.unfit.extend(unfit);
            if let Some(offer) = fit.first() {
                return Ok(Ok(Availability::of(offer)));
            }
            if let Some(next) = places.peek()
                && place.is_index()
                && search.knows
                && !wanted.is_hashed()
            {
                search.decided =
                    Some((self.client.place_name(&place), self.client.place_name(next)));
                break;
            }
        }
        Ok(Err(search.error(wanted)))
    }

    fn offers(&mut self, place: &PlaceId) -> Result<Vec<FileOffer>> {
        if let Some((_, offers)) = self.pages.iter().find(|(known, _)| known == place) {
            return Ok(offers.clone());
        }
        let offers = self.client.offers(place, self.name)?;
        self.pages.push((place.clone(), offers.clone()));
        Ok(offers)
    }
}

fn best(
    wanted: &FileRequest<'_>,
    offers: Vec<FileOffer>,
    mut search: FailedSearch,
) -> Result<Availability> {
    let (fit, unfit) = wanted.sort(offers);
    search.unfit.extend(unfit);
    fit.first()
        .map(Availability::of)
        .ok_or_else(|| search.error(wanted))
}

fn offer_of_file(pin: &Pin, path: &Path) -> Result<FileOffer> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let url = url::Url::from_file_path(path)
        .map_err(|()| Error::bug("a pinned file has an absolute path"))?;
    direct_offer(pin, &name, url, Vec::new())
}
