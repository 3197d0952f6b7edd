// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/* What the module must do that Python cannot see well. TAP on stdout; exit code 1 if any fails. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "../../include/sashizu_driver.h"

#define KIB64 65536UL
#define MIB (1UL << 20)
#define HEAD(type) { .size = sizeof(struct sashizu_##type), .abi = SASHIZU_ABI }
#define CODE(name, type) SASHIZU_LINUX_CODE(SASHIZU_FN_##name, type)

static int number, failures;

static void check(int good, const char *what)
{
	int found = errno;

	printf("%s %d - %s\n", good ? "ok" : "not ok", ++number, what);
	if (!good) {
		printf("# errno %d: %s\n", found, strerror(found));
		failures++;
	}
}

static int opened(void)
{
	int fd = open(SASHIZU_LINUX_DEVICE, O_RDWR | O_CLOEXEC);

	if (fd < 0) {
		printf("Bail out! %s: %s\n", SASHIZU_LINUX_DEVICE, strerror(errno));
		exit(1);
	}
	return fd;
}

static int call(int fd, unsigned int code, void *frame) /* errno, 0 */
{
	return ioctl(fd, code, frame) ? errno : 0;
}

static int take(int fd, unsigned long bytes, unsigned int *handle)
{
	struct sashizu_pool_alloc frame = HEAD(pool_alloc);
	int error;

	frame.bytes = bytes;
	error = call(fd, CODE(POOL_ALLOC, pool_alloc), &frame);
	*handle = frame.handle;
	return error;
}

static int give(int fd, unsigned int handle)
{
	struct sashizu_pool_free frame = HEAD(pool_free);

	frame.handle = handle;
	return call(fd, CODE(POOL_FREE, pool_free), &frame);
}

static unsigned char *map(int fd, unsigned int handle, unsigned long bytes)
{
	return mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, (off_t)handle << 32);
}

static unsigned long used(int fd)
{
	struct sashizu_pool_status frame = HEAD(pool_status);

	return call(fd, CODE(POOL_STATUS, pool_status), &frame) ? ~0UL : frame.used;
}

static void frames(void)
{
	struct sashizu_version frame = HEAD(version);
	struct sashizu_version *gone = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int fd = opened(), reader = open(SASHIZU_LINUX_DEVICE, O_RDONLY | O_CLOEXEC);
	unsigned int handle;

	check(!call(fd, CODE(VERSION, version), &frame), "version answers");
	check(frame.system == SASHIZU_SYSTEM_LINUX, "it is the Linux driver");
	check(frame.granule == KIB64, "the granule is 64 KiB");
	frame.size = 8;
	check(call(fd, CODE(VERSION, version), &frame) == EMSGSIZE, "a wrong size is told");
	frame.size = sizeof(frame);
	frame.abi = SASHIZU_ABI + 0x10000;
	check(call(fd, CODE(VERSION, version), &frame) == EPROTO, "another major version is told");
	frame.abi = SASHIZU_ABI + 1;
	check(!call(fd, CODE(VERSION, version), &frame), "a newer minor version is served");
	check(call(fd, CODE(VERSION, gpu), &frame) == EMSGSIZE, "a code of another size is told");
	check(call(fd, _IO(SASHIZU_LINUX_TYPE, 0), &frame) == ENOTTY, "a code without data is none");
	check(call(fd, _IOWR(SASHIZU_LINUX_TYPE, 99, int), &frame) == ENOTTY, "function 99 is none");
	check(call(fd, CODE(VERSION, version), gone) == EFAULT, "memory that is not there is told");
	check(take(reader, KIB64, &handle) == EPERM, "a reader may not take memory");
	check(!call(reader, CODE(VERSION, version), &frame), "a reader may ask for the version");
	close(reader);
	close(fd);
}

static void pool(void)
{
	int fd = opened(), other = opened();
	unsigned int handle, second;
	unsigned char *at, *more;

	check(take(fd, 1000, &handle) == EINVAL, "sizes are multiples of the granule");
	check(take(fd, 0, &handle) == EINVAL, "nothing cannot be taken");
	check(take(fd, ~0UL << 16, &handle) == EDQUOT, "a huge size is over the quota");
	check(!take(fd, MIB, &handle) && used(fd) == MIB, "a MiB is taken");
	at = map(fd, handle, MIB);
	check(at != MAP_FAILED, "it can be mapped");
	check(at[0] == 0 && at[MIB - 1] == 0, "it is zeroed");
	memset(at, 0xA5, MIB);
	check(map(other, handle, MIB) == MAP_FAILED, "another client cannot map it by its number");
	check(map(fd, handle, KIB64) == MAP_FAILED, "half of it cannot be mapped");
	check(map(fd, handle + 1, MIB) == MAP_FAILED, "a number never given cannot be mapped");
	check(mmap(NULL, MIB, PROT_READ, MAP_PRIVATE, fd, (off_t)handle << 32) == MAP_FAILED,
	      "a private mapping is refused");
	check(mmap(NULL, MIB, PROT_READ | PROT_EXEC, MAP_SHARED, fd, (off_t)handle << 32) ==
	      MAP_FAILED, "an executable mapping is refused");
	check(mprotect(at, MIB, PROT_READ | PROT_EXEC), "it cannot be made executable");
	more = map(fd, 0, MIB);
	check(more != MAP_FAILED && more[5] == 0xA5, "the newest is at offset 0 too, and shows the same");
	check(give(other, handle) == ENOENT, "another client cannot give it back");
	check(!give(fd, handle), "it can be given back");
	check(give(fd, handle) == ENOENT, "but once");
	check(used(fd) == MIB && at[7] == 0xA5, "mapped memory stays, and counts");
	check(!munmap(at, KIB64) && used(fd) == MIB, "a part unmapped changes nothing");
	munmap(at + KIB64, MIB - KIB64);
	munmap(more, MIB);
	check(used(fd) == 0, "unmapped memory is free");
	check(!take(fd, 128 * MIB, &handle), "the whole quota can be taken");
	check(take(fd, KIB64, &second) == EDQUOT, "no more than the quota");
	check(!take(other, 128 * MIB, &second), "another client has a quota of its own");
	close(other);
	check(used(fd) == 128 * MIB, "closing gives back");
	close(fd);
}

static void inheritance(void)
{
	int fd = opened(), status;
	unsigned int handle;
	unsigned char *at;
	pid_t child;

	take(fd, MIB, &handle);
	at = map(fd, handle, MIB);
	child = fork();
	if (!child) {
		at[1] = 0x5A;
		munmap(at, MIB);
		_exit(0);
	}
	waitpid(child, &status, 0);
	check(at[1] == 0x5A && used(fd) == MIB, "a child shares the memory and does not free it");
	give(fd, handle);
	munmap(at, MIB);
	check(used(fd) == 0, "then it is free");
	child = fork();
	if (!child) {
		int mine = opened();

		take(mine, MIB, &handle);
		map(mine, handle, MIB)[0] = 1;
		raise(SIGKILL);
	}
	waitpid(child, &status, 0);
	check(WIFSIGNALED(status) && used(fd) == 0, "a killed client gives back");
	close(fd);
}

/* A page kept alive in a pipe must not be seen to change when its memory goes to somebody else. */
static void reuse(void)
{
	int fd = opened(), next = opened(), ends[2], round, leaks = 0;

	for (round = 0; round < 16; round++) {
		unsigned int handle, second;
		unsigned char *at, *other, seen[4096];
		struct iovec page;

		if (pipe(ends) || take(fd, MIB, &handle))
			exit(1);
		at = map(fd, handle, MIB);
		memset(at, 0xA5, MIB);
		page = (struct iovec){ at, 4096 };
		if (vmsplice(ends[1], &page, 1, 0) != 4096)
			exit(1);
		munmap(at, MIB);
		give(fd, handle);
		take(next, 64 * MIB, &second);
		other = map(next, second, 64 * MIB);
		memset(other, 0xEE, 64 * MIB);
		if (read(ends[0], seen, sizeof(seen)) != sizeof(seen))
			exit(1);
		leaks += seen[0] != 0xA5 || memcmp(seen, seen + 1, sizeof(seen) - 1);
		munmap(other, 64 * MIB);
		give(next, second);
		close(ends[0]);
		close(ends[1]);
	}
	errno = 0;
	check(!leaks, "a page in a pipe never shows what the next client writes");
	close(fd);
	close(next);
}

static void alarmed(int signal)
{
	(void)signal;
}

static void slots(void)
{
	struct sashizu_slot first = HEAD(slot), second = HEAD(slot);
	struct sigaction action = { .sa_handler = alarmed };
	int fd = opened(), other = opened(), error;

	first.timeout_ms = second.timeout_ms = 0;
	check(!call(fd, CODE(SLOT_WAIT, slot), &first), "the free slot is given at once");
	check(call(other, CODE(SLOT_WAIT, slot), &second) == EBUSY, "the second does not wait");
	second.timeout_ms = 50;
	check(call(other, CODE(SLOT_WAIT, slot), &second) == ETIMEDOUT, "or for 50 ms");
	sigaction(SIGALRM, &action, NULL);
	second.timeout_ms = 60000;
	ualarm(50000, 0);
	error = call(other, CODE(SLOT_WAIT, slot), &second);
	check(error == ECANCELED, "a signal ends the wait");
	if (!fork()) {
		usleep(50000);
		close(fd); /* the parent's is still open: nothing changes */
		call(other, CODE(VERSION, version), &first);
		_exit(0);
	}
	second.timeout_ms = 0;
	check(call(other, CODE(SLOT_WAIT, slot), &second) == EBUSY, "the slot is still taken");
	second.ticket = first.ticket;
	second.timeout_ms = 0;
	check(call(other, CODE(SLOT_DONE, slot), &second) == ENOENT, "it is not another's to end");
	close(fd);
	wait(NULL);
	second.timeout_ms = 60000;
	check(!call(other, CODE(SLOT_WAIT, slot), &second), "a closed client's slot goes on");
	close(other);
}

static void hints(void)
{
	struct sashizu_hint frame = HEAD(hint);
	int fd = opened(), status, ends[2];
	pid_t child, victim;
	char go;

	if (pipe(ends))
		exit(1);
	frame.nice = 7;
	check(!call(fd, CODE(HINT_SET, hint), &frame) && getpriority(PRIO_PROCESS, 0) == 7,
	      "a hint makes us nicer");
	check(frame.before == 0 && frame.after == 7, "and says from where to where");
	frame.nice = -6;
	check(call(fd, CODE(HINT_SET, hint), &frame) == EINVAL, "there is a limit");
	close(fd);
	check(getpriority(PRIO_PROCESS, 0) == 0, "closing puts back what was");
	victim = fork();
	if (!victim)
		_exit(read(ends[0], &go, 1) != 1);
	child = fork();
	if (!child) {
		fd = opened();
		if (setresuid(1000, 1000, 1000))
			_exit(9);
		frame.pid = (unsigned int)victim;
		frame.nice = 5;
		if (call(fd, CODE(HINT_SET, hint), &frame) != EPERM)
			_exit(1);
		frame.pid = 0;
		frame.nice = -1;
		if (call(fd, CODE(HINT_SET, hint), &frame) != EPERM)
			_exit(2);
		frame.nice = 3;
		_exit(call(fd, CODE(HINT_SET, hint), &frame) ? 3 : 0);
	}
	waitpid(child, &status, 0);
	errno = WEXITSTATUS(status);
	check(status == 0, "a user lowers their own and no one else's, and raises nothing");
	if (write(ends[1], "x", 1) != 1)
		exit(1);
	waitpid(victim, &status, 0);
}

int main(void)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	frames();
	pool();
	inheritance();
	reuse();
	slots();
	hints();
	printf("1..%d\n", number);
	return failures != 0;
}
