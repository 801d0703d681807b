//! Stopping a thread after any instruction: the few system calls that it takes.
//!
//! Every thread of a child asks to be traced, and stops at breakpoints, where it tells its tracer something and may be
//! told something. The tracer is the process that forked it. Between two breakpoints a thread runs freely, or executes one
//! instruction at a time.

use std::arch::asm;
use std::mem::MaybeUninit;
use std::time::{Duration, Instant};

pub type Tid = libc::pid_t;

/// What a traced thread came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// After one instruction.
    Step,
    /// At its next breakpoint.
    Breakpoint,
    /// By a signal that is not ours, a crash: its number.
    Signal(i32),
    /// Its process is gone.
    Gone,
}

/// The calling thread is traced from now on by the process that forked it.
pub fn be_traced() {
    // SAFETY: no pointers are used.
    let result = unsafe { libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0) };
    assert_eq!(result, 0, "a thread can be traced by its parent");
}

/// A breakpoint, which tells the tracer two numbers and is told one.
#[inline(never)]
pub fn breakpoint(what: u64, value: u64) -> u64 {
    let told;
    // SAFETY: a traced thread stops here, and goes on with everything as it was but for one register. The compiler moves
    // no memory access across.
    unsafe { asm!("int3", inout("rdi") what => told, in("rsi") value, options(nostack)) };
    told
}

/// Lets a stopped thread execute one instruction.
pub fn step(tid: Tid) -> Stop {
    resume(tid, libc::PTRACE_SINGLESTEP);
    wait(tid).1
}

/// Lets a stopped thread go on, to its next breakpoint if there is one.
pub fn go_on(tid: Tid) {
    resume(tid, libc::PTRACE_CONT);
}

fn resume(tid: Tid, how: libc::c_uint) {
    // A thread that is gone meanwhile is noticed by whoever waits for it.
    // SAFETY: no pointers are used.
    unsafe { libc::ptrace(how, tid, 0, 0) };
}

/// Waits until a thread, or with -1 any thread, has stopped.
pub fn wait(tid: Tid) -> (Tid, Stop) {
    let mut status = 0;
    // SAFETY: `status` is there.
    let stopped = unsafe { libc::waitpid(tid, &mut status, libc::__WALL) };
    (stopped, stop_of(stopped, status))
}

/// Waits until all these threads have stopped, or the time is over. Those that did not are left without a stop.
pub fn wait_for(tids: &[Tid], time: Duration) -> Vec<Option<Stop>> {
    let end = Instant::now() + time;
    let mut stops = vec![None; tids.len()];
    loop {
        for (stop, tid) in stops.iter_mut().zip(tids).filter(|(stop, _)| stop.is_none()) {
            *stop = poll(*tid);
        }
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() || stops.iter().all(Option::is_some) {
            return stops;
        }
        wait_for_news(left);
    }
}

/// Whether a thread has stopped, without waiting.
fn poll(tid: Tid) -> Option<Stop> {
    let mut status = 0;
    // SAFETY: `status` is there.
    let stopped = unsafe { libc::waitpid(tid, &mut status, libc::__WALL | libc::WNOHANG) };
    (stopped != 0).then(|| stop_of(stopped, status))
}

/// The signal that says that a thread has stopped.
fn news() -> libc::sigset_t {
    // SAFETY: the functions fill a set.
    unsafe {
        let mut set = std::mem::zeroed();
        libc::sigemptyset(&mut set);
        libc::sigaddset(&mut set, libc::SIGCHLD);
        set
    }
}

/// Keeps the signal until it is waited for.
pub fn keep_news() {
    // SAFETY: the set is there, the old one is not wanted.
    unsafe { libc::sigprocmask(libc::SIG_BLOCK, &news(), std::ptr::null_mut()) };
}

fn wait_for_news(time: Duration) {
    let time = libc::timespec { tv_sec: time.as_secs() as i64, tv_nsec: time.subsec_nanos().into() };
    // SAFETY: set and time are there, the details are not wanted.
    unsafe { libc::sigtimedwait(&news(), std::ptr::null_mut(), &time) };
}

fn stop_of(tid: Tid, status: i32) -> Stop {
    if tid <= 0 || !libc::WIFSTOPPED(status) {
        return Stop::Gone;
    }
    match libc::WSTOPSIG(status) {
        libc::SIGTRAP if was_breakpoint(tid) => Stop::Breakpoint,
        libc::SIGTRAP => Stop::Step,
        other => Stop::Signal(other),
    }
}

/// The kernel says that a trap was an instruction of the program's own, not our step.
fn was_breakpoint(tid: Tid) -> bool {
    const SI_KERNEL: i32 = 0x80;
    let mut info = MaybeUninit::<libc::siginfo_t>::zeroed();
    // SAFETY: `info` is as large as it must be, and any bits are a siginfo.
    let info = unsafe {
        libc::ptrace(libc::PTRACE_GETSIGINFO, tid, 0, info.as_mut_ptr());
        info.assume_init()
    };
    info.si_code == SI_KERNEL
}

/// The registers of a stopped thread.
pub fn registers(tid: Tid) -> libc::user_regs_struct {
    let mut registers = MaybeUninit::<libc::user_regs_struct>::zeroed();
    // SAFETY: as large as it must be, and any bits are registers.
    unsafe {
        libc::ptrace(libc::PTRACE_GETREGS, tid, 0, registers.as_mut_ptr());
        registers.assume_init()
    }
}

pub fn set_registers(tid: Tid, registers: &libc::user_regs_struct) {
    // SAFETY: as large as it must be.
    unsafe { libc::ptrace(libc::PTRACE_SETREGS, tid, 0, std::ptr::from_ref(registers)) };
}

/// The registers of a stopped thread for vectors and floating-point numbers.
pub fn vectors(tid: Tid, bytes: &mut Vec<u8>) {
    bytes.resize(8192, 0);
    let length = vectors_call(libc::PTRACE_GETREGSET, tid, bytes);
    bytes.truncate(length);
}

pub fn set_vectors(tid: Tid, bytes: &mut [u8]) {
    vectors_call(libc::PTRACE_SETREGSET, tid, bytes);
}

fn vectors_call(what: libc::c_uint, tid: Tid, bytes: &mut [u8]) -> usize {
    const NT_X86_XSTATE: usize = 0x202;
    let mut part = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
    // SAFETY: the bytes are there.
    let result = unsafe { libc::ptrace(what, tid, NT_X86_XSTATE, &raw mut part) };
    assert_eq!(result, 0, "a stopped thread has registers");
    part.iov_len
}

/// What a thread tells at the breakpoint where it is.
pub fn told(tid: Tid) -> (u64, u64) {
    let registers = registers(tid);
    (registers.rdi, registers.rsi)
}

/// Tells a thread something at the breakpoint where it is.
pub fn tell(tid: Tid, value: u64) {
    set_registers(tid, &libc::user_regs_struct { rdi: value, ..registers(tid) });
}

/// Where a stopped thread is: in which file, and at which address in it, as `addr2line` wants it.
pub fn place(tid: Tid) -> String {
    let at = registers(tid).rip as usize;
    let maps = maps("self");
    let Some(map) = maps.iter().find(|map| map.range.contains(&at)) else { return format!("{at:#x}") };
    let start = maps.iter().find(|first| first.file == map.file).map_or(0, |first| first.range.start);
    format!("{:#x} of {}", at - start, map.file.rsplit('/').next().unwrap_or_default())
}

/// A mapping of a process.
pub struct Map {
    pub range: std::ops::Range<usize>,
    pub writable: bool,
    pub file: String,
}

/// What memory a process has.
pub fn maps(process: &str) -> Vec<Map> {
    let text = std::fs::read_to_string(format!("/proc/{process}/maps")).expect("a process has maps");
    let map = |line: &str| {
        let mut words = line.split_whitespace();
        let (range, rights) = (words.next()?.split_once('-')?, words.next()?);
        let number = |text| usize::from_str_radix(text, 16).ok();
        let range = number(range.0)?..number(range.1)?;
        Some(Map { range, writable: rights.starts_with("rw"), file: words.nth(3).unwrap_or_default().to_owned() })
    };
    text.lines().filter_map(map).collect()
}

/// Whether the next instruction of a stopped thread is `lock cmpxchg`.
pub fn is_before_swap(tid: Tid) -> bool {
    let at = std::ptr::with_exposed_provenance::<u8>(registers(tid).rip as usize);
    // SAFETY: what the child executes lies at the same address here, and an instruction is followed by others.
    let code = unsafe { at.cast::<[u8; 4]>().read_unaligned() };
    matches!(code, [0xf0, 0x40..=0x4f, 0x0f, 0xb1] | [0xf0, 0x0f, 0xb1, _])
}

/// Ends a child with all its threads, and waits until those that are traced are gone, the first one last.
pub fn end(pid: Tid, threads: &[Tid]) {
    // SAFETY: a child of this process, not yet waited for.
    unsafe { libc::kill(pid, libc::SIGKILL) };
    for thread in threads.iter().rev().filter(|thread| **thread > 0 && **thread != pid).chain([&pid]) {
        while wait(*thread).1 != Stop::Gone {}
    }
}

/// Forks. In the child: dies when its parent does, has no huge pages, and uses no more of this process.
pub fn fork() -> Tid {
    // SAFETY: this process has one thread, so the child has all of it.
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0, "a process can be forked");
    if pid == 0 {
        // SAFETY: no pointers are used.
        unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
    }
    pid
}

/// Ends the process at once, whatever its other threads do.
pub fn exit(status: i32) -> ! {
    // SAFETY: no pointers are used.
    unsafe { libc::_exit(status) }
}
