//! The thread's loop.

use std::{
    cell::RefCell,
    collections::VecDeque,
    sync::{Arc, mpsc},
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use mlx_rs::{Array, memory, transforms::eval};
use tracing::{debug, error, warn};

use super::{
    Job, Status,
    adapters::Mounts,
    admission::Admission,
    batch::Batch,
    contained,
    sequence::{Context, Sequence, Turn},
};
use crate::{
    Error, Event, Result,
    adapter::{Control, LoadedAdapter},
    cache::LayerCache,
    kv::KvQuantization,
    limits::{self, WORKER_STACK_BYTES},
    memory::{Ledger, MemoryModel, Sharing, Verdict},
    mlx,
    models::{self, Mutation},
    nn::AdapterId,
    prompt_cache::{Folder, PromptCache, Rules, Shape},
    weights::ModelDir,
};

/// How long to sleep when every sequence waits for its reader.
const READER_POLL: Duration = Duration::from_millis(2);

/// Facts that the thread reports once the model is built.
#[derive(Debug)]
pub(crate) struct LoadedModel {
    pub(crate) vocab_size: usize,
    pub(crate) layers: usize,
    pub(crate) dtype: &'static str,
    /// Of the adapters mounted from the start, in their order.
    pub(crate) adapters: Vec<AdapterId>,
}

/// What the thread needs to begin.
pub(crate) struct Setup {
    pub(crate) dir: Arc<ModelDir>,
    /// Adapters to mount from the start.
    pub(crate) adapters: Vec<LoadedAdapter>,
    pub(crate) prefill_step_size: usize,
    pub(crate) kv: KvQuantization,
    pub(crate) max_active: usize,
    pub(crate) max_batch: Option<usize>,
    pub(crate) prompt_cache_bytes: usize,
    pub(crate) memory: Option<MemoryModel>,
    pub(crate) memory_budget: Option<u64>,
    pub(crate) mutation: Mutation,
    pub(crate) jobs: mpsc::Receiver<Job>,
    pub(crate) controls: mpsc::Receiver<Control>,
    /// Tells when the engine is loaded as a whole.
    pub(crate) loaded: mpsc::Receiver<Loaded>,
    pub(crate) status: Arc<Status>,
}

/// What the thread gets when the engine is loaded as a whole.
pub(crate) struct Loaded {
    /// The prompt cache's folder, if there is one.
    pub(crate) folder: Option<Folder>,
    /// Dropped when the folder is in use.
    pub(crate) ready: mpsc::SyncSender<()>,
}

/// Where a started thread reports the built model, and the handle to wait for its end.
pub(crate) type Started = (mpsc::Receiver<Result<LoadedModel>>, thread::JoinHandle<()>);

/// Starts the thread.
pub(crate) fn spawn(setup: Setup) -> Result<Started> {
    let (built, report) = mpsc::sync_channel(1);
    let thread = thread::Builder::new()
        .name("mlx".into())
        .stack_size(WORKER_STACK_BYTES)
        .spawn(move || {
            let guard = DeadOnDrop(setup.status.clone());
            run(setup, &built);
            // What was dispatched ahead still runs; the process must not end under it.
            mlx::ops::synchronize();
            drop(guard);
        })
        .map_err(|e| Error::WorkerDied(format!("it could not be started: {e}")))?;
    Ok((report, thread))
}

/// Marks the thread dead however it ends.
struct DeadOnDrop(Arc<Status>);

impl Drop for DeadOnDrop {
    fn drop(&mut self) {
        self.0.set_dead();
    }
}

fn run(mut setup: Setup, built: &mpsc::SyncSender<Result<LoadedModel>>) {
    let mut mounts = Mounts::new(setup.mutation, &setup.status);
    let start = std::mem::take(&mut setup.adapters);
    let loaded = models::build(&setup.dir, setup.mutation).and_then(|model| {
        let max_batch = batch_rows(setup.max_batch, setup.max_active)?;
        setup.kv.check(&model.head_dims())?;
        let adapters = start.into_iter().map(|one| mounts.mount(one, model.adapters()));
        let facts = LoadedModel {
            vocab_size: model.vocab_size(),
            layers: model.layers(),
            dtype: mlx::dtype_name(model.dtype())?,
            adapters: adapters.collect::<Result<_>>()?,
        };
        Ok((model, max_batch, facts))
    });
    let (model, max_batch) = match loaded {
        Ok((model, max_batch, facts)) => {
            // Nobody waits any more: there is nothing to serve.
            if built.send(Ok(facts)).is_err() {
                return;
            }
            (model, max_batch)
        }
        Err(e) => {
            let _ = built.send(Err(e));
            return;
        }
    };
    let caches = model.new_caches();
    let rules = Rules::new(&caches, &setup.kv, has_neutral_calls());
    let cache = PromptCache::new(
        rules,
        setup.prompt_cache_bytes,
        Arc::clone(&setup.status),
        setup.mutation,
    );
    let context = Context {
        model: model.as_ref(),
        prefill_step_size: setup.prefill_step_size,
        kv: Arc::new(setup.kv),
        mutation: setup.mutation,
        marks: rules.want_marks(&caches),
        cache: RefCell::new(cache),
    };
    let exact = batches_exactly(&caches);
    if !exact && setup.max_batch.is_some_and(|rows| rows > 1) {
        warn!("sequences take turns: a sliding window's rows would depend on their batch");
    }
    let batch = (max_batch > 1 && exact).then(|| Batch::new(max_batch));
    let sharing = setup.memory.as_ref().map_or(Sharing::Turns, |m| Sharing::of(m, max_batch));
    let weight_bytes = setup.memory.as_ref().map_or(0, |memory| memory.weights);
    let resident = weight_bytes + mounts.memory();
    let mut worker = Worker {
        context,
        admission: Admission::new(Ledger::new(setup.memory_budget, resident, sharing)),
        weight_bytes,
        waiting: VecDeque::new(),
        active: VecDeque::new(),
        batch,
        max_active: setup.max_active,
        jobs: setup.jobs,
        controls: setup.controls,
        mounts,
        open: true,
        status: &setup.status,
        unread_weights: Some(model.weights()),
        seeds: entropy(),
    };
    // Reading the weights would slow down what else is loaded meanwhile, such as the tokenizer.
    let Ok(Loaded { folder, ready }) = setup.loaded.recv() else { return };
    if let (Some(folder), Some(memory)) = (folder, &setup.memory) {
        let shape = Shape::new(memory, model.dtype(), model.new_caches(), setup.mutation);
        worker.context.cache.borrow_mut().keep_on_disk(folder, shape);
    }
    drop(ready);
    worker.serve();
}

struct Worker<'a> {
    context: Context<'a>,
    admission: Admission,
    /// Bytes of the model's weights.
    weight_bytes: u64,
    /// Those that wait, in the order they came.
    waiting: VecDeque<Job>,
    /// Those that take turns.
    active: VecDeque<Sequence>,
    /// Those that share turns, where that changes no bit of theirs.
    batch: Option<Batch>,
    max_active: usize,
    jobs: mpsc::Receiver<Job>,
    controls: mpsc::Receiver<Control>,
    mounts: Mounts<'a>,
    /// Whether requests may still come.
    open: bool,
    status: &'a Status,
    unread_weights: Option<Vec<&'a Array>>,
    seeds: u64,
}

impl Worker<'_> {
    fn serve(&mut self) {
        self.read_weights();
        loop {
            if self.status.is_abandoned() {
                self.abandon();
                self.finish_writing();
                return;
            }
            let news = self.change_adapters() | self.receive() | self.admit();
            let wrote = self.write_on();
            if self.running() == 0 {
                if !self.open && self.waiting.is_empty() {
                    self.finish_writing();
                    return;
                }
                if !news {
                    self.status.set_busy(false);
                }
                if !news && !wrote {
                    // Whoever sends something, or was the last who could, wakes this thread.
                    thread::park();
                }
                continue;
            }
            let worked = self.round();
            self.admission.hold(&mut *self.context.cache.borrow_mut());
            self.status.record_memory();
            if !worked {
                thread::sleep(READER_POLL);
            }
        }
    }

    /// Reads all weights in one go, as mlx-lm does at load, but after the model is reported ready.
    fn read_weights(&mut self) {
        if let Some(weights) = self.unread_weights.take() {
            self.status.set_busy(true);
            if let Err(e) = eval(weights) {
                // Each request will meet the same error and report it.
                error!(error = %Error::from(e), "the weights cannot be read");
            }
            let _ = memory::reset_peak_memory();
            self.status.record_memory();
            self.status.set_busy(false);
        }
    }

    /// Tells every reader that the engine is gone.
    fn abandon(&mut self) {
        for sequence in self.active.drain(..) {
            sequence.reader.fail(Error::ShuttingDown);
        }
        if let Some(batch) = &mut self.batch {
            batch.fail(&Error::ShuttingDown);
        }
        for job in self.waiting.drain(..).chain(self.jobs.try_iter()) {
            self.status.remove_queued();
            let _ = job.events.try_send(Event::Failed(Error::ShuttingDown));
        }
        self.status.set_active(0);
    }

    /// Has a piece of a state written to disk; false when there was nothing to do.
    fn write_on(&self) -> bool {
        let cache = &self.context.cache;
        contained("the prompt cache", || Ok(cache.borrow_mut().write_on())).unwrap_or(false)
    }

    /// Has the rest written, in time.
    fn finish_writing(&self) {
        let until = Instant::now() + limits::CACHE_FINISH_TIME;
        let cache = &self.context.cache;
        let finished = contained("the prompt cache", || {
            cache.borrow_mut().finish_writing(until);
            Ok(())
        });
        if let Err(e) = finished {
            error!(error = %e, "states are not written to disk");
        }
    }

    /// Mounts and unmounts what was asked for; false when there was nothing.
    fn change_adapters(&mut self) -> bool {
        let mut news = false;
        while let Ok(control) = self.controls.try_recv() {
            news = true;
            let (model, cache) = (self.context.model, &self.context.cache);
            let make_room =
                |bytes| Ok(self.admission.make_room(bytes, &mut *cache.borrow_mut())?);
            if let Some(gone) = self.mounts.obey(control, model.adapters(), make_room) {
                cache.borrow_mut().forget_adapter(gone);
            }
            self.admission.set_resident(self.weight_bytes + self.mounts.memory());
        }
        if news {
            self.status.record_memory();
        }
        news
    }

    /// Takes requests over from their senders, and forgets those that nobody waits for any more, so
    /// that their places are free; false when none came.
    fn receive(&mut self) -> bool {
        let before = self.waiting.len();
        loop {
            match self.jobs.try_recv() {
                Ok(job) => self.waiting.push_back(job),
                Err(mpsc::TryRecvError::Empty) => break,
                Err(mpsc::TryRecvError::Disconnected) => {
                    self.open = false;
                    break;
                }
            }
        }
        let news = self.waiting.len() > before;
        let status = self.status;
        self.waiting.retain(|job| {
            let wanted = !job.events.is_closed();
            if !wanted {
                status.remove_queued();
                debug!("a request was cancelled while it waited");
            }
            wanted
        });
        news
    }

    /// Moves waiting requests into free places, in the order they came; false when none moved.
    fn admit(&mut self) -> bool {
        let before = self.waiting.len();
        while self.running() < self.max_active
            && let Some(job) = self.waiting.pop_front()
        {
            self.status.set_busy(true);
            if let Some(job) = self.take_up(job) {
                self.waiting.push_front(job);
                break;
            }
        }
        self.status.set_reserved(self.admission.reserved());
        self.waiting.len() < before
    }

    /// Starts a request; gives it back when it has to wait until something that runs has ended.
    fn take_up(&mut self, job: Job) -> Option<Job> {
        let entered = self.admission.enter(job.cost, &mut *self.context.cache.borrow_mut());
        let share = match entered {
            Ok(share) => share,
            // While nothing runs there is nothing to wait for.
            Err(Verdict::Wait) if self.running() > 0 => return Some(job),
            Err(_) => {
                self.status.remove_queued();
                let shortage = self.admission.shortage(job.cost);
                let _ = job.events.try_send(Event::Failed(shortage.into()));
                return None;
            }
        };
        // Before its reader hears of it, who may count places.
        self.status.set_active(self.running() + 1);
        self.status.remove_queued();
        self.seeds = self.seeds.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        if let Some(sequence) = Sequence::start(job, &self.context, self.seeds >> 16, share) {
            self.active.push_back(sequence);
        }
        self.status.set_active(self.running());
        None
    }

    fn running(&self) -> usize {
        self.active.len() + self.batch.as_ref().map_or(0, Batch::len)
    }

    /// A token for each sequence that generates, and a prompt's chunk for one of those that still
    /// read theirs, another one each round: however many long prompts come in, whoever streams waits
    /// for one chunk per token. False when all of them wait for their readers.
    fn round(&mut self) -> bool {
        let mut worked = self.batched_turn();
        let mut had_a_chunk = None;
        for _ in 0..self.active.len() {
            let Some(mut sequence) = self.active.pop_front() else { break };
            let prefills = sequence.decoder.prefills();
            if prefills && had_a_chunk.is_some() {
                self.active.push_back(sequence);
                continue;
            }
            let context = &self.context;
            match contained("a sequence", || Ok(sequence.turn(context))) {
                Ok(Turn::Continues) => {
                    worked = true;
                    if prefills {
                        had_a_chunk = Some(sequence);
                    } else {
                        self.active.push_back(sequence);
                    }
                }
                Ok(Turn::Waits) => self.active.push_back(sequence),
                Ok(Turn::Ended) => {
                    worked = true;
                    let kept = contained("the prompt cache", || {
                        sequence.retire(context);
                        Ok(())
                    });
                    if let Err(e) = kept {
                        error!(error = %e, "a sequence's state is not kept");
                    }
                }
                Err(e) => {
                    worked = true;
                    sequence.reader.fail(e);
                }
            }
            self.status.record_progress();
        }
        // Behind the others: one of them is next.
        self.active.extend(had_a_chunk);
        self.status.set_active(self.running());
        worked
    }

    /// Moves sequences in and out of the batch and gives it its turn; false without a row.
    fn batched_turn(&mut self) -> bool {
        let Self { batch: Some(batch), active, context, .. } = self else { return false };
        let turned = contained("a batch", || Ok(turn_batch(batch, active, context)));
        let worked = turned.unwrap_or_else(|e| {
            batch.fail(&e);
            true
        });
        if worked {
            self.status.record_progress();
        }
        worked
    }
}

fn turn_batch(batch: &mut Batch, active: &mut VecDeque<Sequence>, context: &Context<'_>) -> bool {
    active.extend(batch.leavers(context));
    // Alone, the single-stream calls are the cheaper way to the same bits, and a row that nobody goes
    // with does not keep the others from going together.
    if batch.len() == 1 && !active.iter().any(|s| batch.suits(s) && batch.accepts(s, context)) {
        active.extend(batch.disband(context));
    }
    if batch.len() == 0 {
        let Some(first) = active.iter().position(|one| {
            let mut others = active.iter().filter(|s| !std::ptr::eq(*s, one) && batch.suits(s));
            batch.suits(one) && others.any(|s| one.decoder.goes_with(&s.decoder, context.model))
        }) else {
            return false;
        };
        active.remove(first).into_iter().for_each(|sequence| batch.join(sequence));
    }
    for _ in 0..active.len() {
        let Some(sequence) = active.pop_front() else { break };
        if batch.suits(&sequence) && batch.accepts(&sequence, context) {
            batch.join(sequence);
        } else {
            active.push_back(sequence);
        }
    }
    batch.turn(context);
    true
}

/// How many requests share calls, of so many that were asked for: where a row's bits are not known to
/// be those of its single stream, one, and no more than `max_active`, which run.
///
/// # Errors
/// [`Error::Request`] when more were asked for than the limit or this backend allows.
pub(crate) fn batch_rows(max_batch: Option<usize>, max_active: usize) -> Result<usize> {
    let limit = limits::MAX_BATCH;
    match max_batch {
        None if has_neutral_calls() => Ok(limits::DEFAULT_MAX_BATCH.min(max_active.max(1))),
        None => Ok(1),
        Some(rows) if rows > limit => {
            Err(Error::Request(format!("max_batch may be at most {limit}, got {rows}")))
        }
        Some(rows) if rows > 1 && !has_neutral_calls() => Err(Error::Request(
            "batches are known to keep every row's bits on MLX's CPU backend on Linux only; leave \
             max_batch at 1 here"
                .into(),
        )),
        Some(rows) => Ok(rows.min(max_active).max(1)),
    }
}

/// Whether a token's bits do not depend on the tokens that share its call of the model.
fn has_neutral_calls() -> bool {
    cfg!(target_os = "linux") && mlx::runs_on_cpu().unwrap_or(false)
}

/// Whether rows of this model keep their bits in a batch. In mlx-lm's batches a sliding window's
/// ring turns with the longest row, so that a row's sums depend on its company.
fn batches_exactly(caches: &[LayerCache]) -> bool {
    !caches.iter().any(|c| matches!(c, LayerCache::Rotating(_)))
}

/// Start of the seeds for requests that bring none; differs from run to run.
fn entropy() -> u64 {
    let clock = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_nanos() as u64);
    clock ^ (u64::from(std::process::id()) << 32)
}
