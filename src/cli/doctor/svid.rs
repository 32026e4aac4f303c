//! The SVIDs that `--svid` names.

use std::path::{Path, PathBuf};

use crate::doctor::{CallerSvid, DoctorCallers, Federation, SvidPem};
use crate::file;

/// The largest file of an SVID, in bytes.
const MAX_FILE: usize = 1 << 20;

/// The places of the SVIDs.
#[derive(Debug, Clone, Default)]
pub(super) struct SvidSources(Vec<[PathBuf; 3]>);

impl SvidSources {
    /// Takes the paths of certificate, key and bundle, once for each SVID.
    pub(super) fn of(paths: &[PathBuf]) -> Self {
        let (each, _) = paths.as_chunks::<3>();
        Self(each.to_vec())
    }

    /// Reads all.
    ///
    /// # Errors
    /// The file that cannot be used, with the reason.
    pub(super) fn read(&self, federation: &Federation) -> Result<DoctorCallers, String> {
        let svids: Result<Vec<CallerSvid>, String> = self.0.iter().map(svid).collect();
        DoctorCallers::of(federation, svids?).map_err(|error| format!("--svid: {error}"))
    }
}

fn svid([chain, key, bundle]: &[PathBuf; 3]) -> Result<CallerSvid, String> {
    let read = |path: &Path| match file::read(path, MAX_FILE) {
        Ok((bytes, _)) => Ok(bytes),
        Err(error) => Err(format!("--svid: {}: {error}", path.display())),
    };
    let (chain_pem, key_pem, bundle_pem) = (read(chain)?, read(key)?, read(bundle)?);
    let pem = SvidPem {
        chain: &chain_pem,
        key: &key_pem,
        bundle: &bundle_pem,
    };
    CallerSvid::parse(pem).map_err(|error| {
        let paths = [chain, key, bundle].map(|path| path.display().to_string());
        format!("--svid {}: {error}", paths.join(" "))
    })
}
