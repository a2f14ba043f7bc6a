//! Looks up country, its part and provider of an address in files of MaxMind's format, where the caller did not tell them.
//!
//! The files are read once, bounded, and held in memory; a look-up touches memory only. What a damaged place in a file
//! answers is taken as "not known": a look-up never fails an attempt. This is the only file that names the reader.

use std::fs::File;
use std::io::{self, Read};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use maxminddb::{MaxMindDbError, PathElement, Reader};

use crate::config::GeoConfig;
use crate::detection::client::{Asn, ClientDetails, Country, Subdivision};

/// Longest file: twice the largest of the free ones.
const FILE_MAX: u64 = 128 << 20;

/// Why a file cannot be used. The texts follow the configuration's: key, problem, remedy.
#[derive(Debug, thiserror::Error)]
pub enum GeoError {
    /// It cannot be read.
    #[error("geo.database: {} cannot be read; check path and permissions, or remove it", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It has more bytes than a node takes into memory.
    #[error("geo.database: {} has more than 128 MiB; use a file of countries or of autonomous systems", .0.display())]
    TooLarge(PathBuf),
    /// It is damaged, cut short, or of another format.
    #[error("geo.database: {} is no intact file of MaxMind's format; download it again, or remove it", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What the reader says.
        #[source]
        source: Box<MaxMindDbError>,
    },
}

/// The files of one configuration, in its order.
#[derive(Debug, Default)]
pub struct GeoDatabases(Vec<Reader<Vec<u8>>>);

impl GeoDatabases {
    /// Reads every file that is configured.
    ///
    /// # Errors
    /// The first file that cannot be used.
    pub fn open(config: &GeoConfig) -> Result<Self, GeoError> {
        config.database.iter().map(|path| open(path)).collect::<Result<_, _>>().map(Self)
    }

    /// Fills in the country, its part and the autonomous system of `ip`, each only where `client` does not have it yet; the
    /// part only from a file that says the same country.
    pub fn complete(&self, ip: IpAddr, client: &mut ClientDetails) {
        for database in &self.0 {
            if client.subdivision.is_some() && client.asn.is_some() {
                return;
            }
            let Ok(found) = database.lookup(ip) else { continue };
            if client.subdivision.is_none() {
                let code = found.decode_path::<&str>(&[PathElement::Key("country"), PathElement::Key("iso_code")]);
                let country = code.ok().flatten().and_then(Country::from_code);
                client.country = client.country.or(country);
                if country.is_some() && client.country == country {
                    let part = [PathElement::Key("subdivisions"), PathElement::Index(0), PathElement::Key("iso_code")];
                    let code = found.decode_path::<&str>(&part);
                    client.subdivision = code.ok().flatten().and_then(Subdivision::from_code);
                }
            }
            if client.asn.is_none() {
                let number = found.decode_path::<u32>(&[PathElement::Key("autonomous_system_number")]);
                client.asn = number.ok().flatten().and_then(Asn::new);
            }
        }
    }
}

fn open(path: &Path) -> Result<Reader<Vec<u8>>, GeoError> {
    let fail = |source| GeoError::Read { path: path.to_owned(), source };
    let file = File::open(path).map_err(fail)?;
    let mut bytes = Vec::new();
    // Not by its length: a pipe or a device has none.
    file.take(FILE_MAX + 1).read_to_end(&mut bytes).map_err(fail)?;
    if bytes.len() as u64 > FILE_MAX {
        return Err(GeoError::TooLarge(path.to_owned()));
    }
    Reader::from_source(bytes).map_err(|source| GeoError::Damaged { path: path.to_owned(), source: Box::new(source) })
}

#[cfg(test)]
pub(crate) mod tests;
