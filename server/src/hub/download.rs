//! Fetching one file: on from what is there, again when the connection breaks, and never more than
//! was announced.

use std::{
    fs::{File, OpenOptions},
    io::{Read, Write},
    path::Path,
    thread,
};

use indicatif::ProgressBar;

use super::{
    HubError,
    client::{Announced, Bytes, Client, Refusal},
    store::{create_folder_of, discard},
};
use crate::limits;

/// Has the file at `url` in `part`, whole and verified. When it is not what was announced, nothing of
/// it stays; when the connection broke, what came stays and is built on next time.
pub(super) fn download(
    client: &Client,
    url: &str,
    file: &str,
    announced: &Announced,
    part: &Path,
    bar: &ProgressBar,
) -> Result<(), Refusal> {
    let fetch = Download { client, url, file, announced, part, bar };
    let whole = fetch.in_spite_of_breaks().and_then(|()| fetch.verify());
    if matches!(whole, Err(Refusal::Failed(HubError::TooLong { .. } | HubError::Corrupt { .. }))) {
        discard(part);
    }
    whole
}

struct Download<'a> {
    client: &'a Client,
    url: &'a str,
    file: &'a str,
    announced: &'a Announced,
    part: &'a Path,
    bar: &'a ProgressBar,
}

impl Download<'_> {
    fn in_spite_of_breaks(&self) -> Result<(), Refusal> {
        let mut out = self.open().map_err(HubError::io(self.part))?;
        for attempt in 0..limits::HUB_RETRIES {
            match self.rest(&mut out) {
                Err(Refusal::Passing(_)) => {
                    thread::sleep(limits::HUB_RETRY_DELAY * 2_u32.pow(attempt));
                }
                done => return done,
            }
        }
        self.rest(&mut out)
    }

    fn open(&self) -> std::io::Result<File> {
        create_folder_of(self.part)?;
        OpenOptions::new().append(true).create(true).open(self.part)
    }

    /// Receives what is missing.
    fn rest(&self, out: &mut File) -> Result<(), Refusal> {
        let there = out.metadata().map_err(HubError::io(self.part))?.len();
        if there == self.announced.bytes {
            return Ok(());
        }
        // More than there should be is no beginning of the file.
        let start = if there < self.announced.bytes { there } else { 0 };
        let Bytes { start, body } = self.client.bytes(self.url, start)?;
        if start != there {
            out.set_len(start).map_err(HubError::io(self.part))?;
        }
        self.bar.set_position(start);
        self.receive(body.into_reader(), out, self.announced.bytes - start)
    }

    fn receive(&self, mut body: impl Read, out: &mut File, bytes: u64) -> Result<(), Refusal> {
        let mut buffer = vec![0; limits::HUB_BUFFER_BYTES];
        let mut missing = bytes;
        loop {
            let n = body.read(&mut buffer).map_err(|e| Refusal::Passing(e.to_string()))?;
            if n == 0 && missing > 0 {
                return Err(Refusal::Passing("the connection broke".to_owned()));
            }
            if n == 0 {
                return Ok(());
            }
            missing = missing.checked_sub(n as u64).ok_or_else(|| self.too_long())?;
            out.write_all(&buffer[..n]).map_err(HubError::io(self.part))?;
            self.bar.inc(n as u64);
        }
    }

    fn verify(&self) -> Result<(), Refusal> {
        let hash = &self.announced.hash;
        if hash.matches(self.part).map_err(HubError::io(self.part))? {
            return Ok(());
        }
        let (file, expected) = (self.file.to_owned(), hash.hex().to_owned());
        Err(HubError::Corrupt { file, expected }.into())
    }

    fn too_long(&self) -> HubError {
        HubError::TooLong { file: self.file.to_owned(), bytes: self.announced.bytes }
    }
}
