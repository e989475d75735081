//! The worker's side: one process that runs programs, started by the pool as `switchyard jq-worker`, ended by the end of its input.
//!
//! It limits itself before it reads a byte: memory, processor time, files, core dumps. It holds no secret (its environment is
//! empty) and opens nothing.

use super::compile::{Compiled, compile};
use super::frame::{self, ID, LOAD, REQUEST_MAX, RUN};
use super::pool::RESULTS_BYTES_MAX;
use super::{JqError, Program, RESULTS_MAX, STACK};
use rustix::process::{Resource, Rlimit, setrlimit};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::io::{self, Read, Write};
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};

/// Memory beyond what the program itself maps and its stack.
const MEMORY_MAX: u64 = 256 << 20;
/// Processor seconds of a worker's whole life; the pool replaces it earlier.
const CPU_MAX: u64 = 120;
/// Programs kept; beyond it all are forgotten, and the pool, which counts too, starts a new worker.
pub const PROGRAMS_MAX: usize = 1_024;

/// Serves programs until the input ends.
pub fn run_worker(input: impl Read + Send + 'static, output: impl Write + Send + 'static) -> ExitCode {
    let limited = limit();
    let served = limited.and_then(|()| {
        let worker = std::thread::Builder::new().stack_size(STACK).spawn(move || serve(input, output))?;
        worker.join().map_err(|_| io::Error::other("the worker failed"))?
    });
    if served.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn limit() -> io::Result<()> {
    // The program's own mappings (a debug build's are large) are not what is to be limited. The line reads `VmSize:  1234 kB`.
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let size = status.lines().find_map(|line| line.strip_prefix("VmSize:")?.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    let mapped = size.unwrap_or(0) << 10;
    let limits = [
        (Resource::As, mapped + STACK as u64 + MEMORY_MAX),
        (Resource::Cpu, CPU_MAX),
        (Resource::Core, 0),
        (Resource::Fsize, 0),
        // The three that are open.
        (Resource::Nofile, 3),
    ];
    for (resource, most) in limits {
        setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) })?;
    }
    Ok(())
}

fn serve(mut input: impl Read, mut output: impl Write) -> io::Result<()> {
    let mut programs: HashMap<[u8; ID], Compiled> = HashMap::new();
    // Ready: the limits stand.
    answer(&mut output, &[frame::OK], &[])?;
    let mut request = vec![];
    while read_frame(&mut input, &mut request)? {
        let Some((&kind, rest)) = request.split_first() else { return Err(io::ErrorKind::InvalidData.into()) };
        let Some((id, rest)) = rest.split_first_chunk::<ID>() else { return Err(io::ErrorKind::InvalidData.into()) };
        match kind {
            LOAD => {
                let program = std::str::from_utf8(rest).ok().and_then(|text| compile(text).ok());
                let program = program.ok_or(io::ErrorKind::InvalidData)?;
                if programs.len() >= PROGRAMS_MAX {
                    programs.clear();
                }
                programs.insert(*id, program);
                answer(&mut output, &[frame::OK], &[])?;
            }
            RUN => {
                let program = programs.get(id).ok_or(io::ErrorKind::InvalidData)?;
                match run(program, rest) {
                    Ok(results) => answer(&mut output, &[frame::OK], &results)?,
                    Err(error) => answer(&mut output, &[code(&error)], told(&error).as_bytes())?,
                }
            }
            _ => return Err(io::ErrorKind::InvalidData.into()),
        }
    }
    Ok(())
}

/// Programs that are run without a process.
#[derive(Default)]
pub struct Here(Mutex<HashMap<[u8; ID], Compiled>>);

impl Here {
    /// The results of a program, as a worker answers them.
    pub fn run(&self, program: &Program, input: &[u8]) -> Result<Vec<u8>, JqError> {
        let mut programs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let program = match programs.entry(program.id) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => new.insert(compile(&program.text).map_err(|_| JqError::Program("does not compile".into()))?),
        };
        run(program, input)
    }
}

impl fmt::Debug for Here {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Here")
    }
}

fn run(program: &Compiled, input: &[u8]) -> Result<Vec<u8>, JqError> {
    // The pool's envelope is strict JSON and bounded in depth already.
    let event = jaq_json::read::parse_single(input).map_err(|_| JqError::Input)?;
    let (mut texts, mut bytes) = (Vec::with_capacity(RESULTS_MAX.min(8)), 0);
    for result in program.run(event)? {
        let mut text = vec![];
        jaq_json::write::write(&mut text, &jaq_json::write::Pp::default(), 0, &result).map_err(|_| JqError::NotJson)?;
        bytes += text.len() + 4;
        if bytes > RESULTS_BYTES_MAX {
            return Err(JqError::TooLarge);
        }
        // The engine's values can be more than JSON says: no number, bytes.
        if serde_json::from_slice::<serde::de::IgnoredAny>(&text).is_err() {
            return Err(JqError::NotJson);
        }
        texts.push(text);
    }
    Ok(frame::texts(texts.iter().map(Vec::as_slice)))
}

fn code(error: &JqError) -> u8 {
    match error {
        JqError::Input => frame::INPUT_ERROR,
        JqError::Steps => frame::STEPS,
        JqError::TooMany => frame::TOO_MANY,
        JqError::TooLarge => frame::TOO_LARGE,
        JqError::NotJson => frame::NOT_JSON,
        _ => frame::PROGRAM_ERROR,
    }
}

fn told(error: &JqError) -> String {
    match error {
        JqError::Program(why) => why.chars().take(400).collect(),
        _ => String::new(),
    }
}

fn answer(output: &mut impl Write, status: &[u8], rest: &[u8]) -> io::Result<()> {
    output.write_all(&frame::frame(&[status, rest]))?;
    output.flush()
}

/// Whether there was a frame; `false` at the end of the input.
fn read_frame(input: &mut impl Read, frame: &mut Vec<u8>) -> io::Result<bool> {
    let mut length = [0; 4];
    match input.read_exact(&mut length) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
        other => other?,
    }
    let length = u32::from_le_bytes(length) as usize;
    if length > REQUEST_MAX {
        return Err(io::ErrorKind::InvalidData.into());
    }
    frame.clear();
    frame.resize(length, 0);
    input.read_exact(frame)?;
    Ok(true)
}
