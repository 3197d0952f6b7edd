// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/* The device file: frames in and out, and the calls that sleep. */
#include <linux/completion.h>
#include <linux/errno.h>
#include <linux/jiffies.h>
#include <linux/log2.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/sizes.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "module.h"

#define SZD_SMALL 256 /* frames up to here live on the stack */
#define SZD_MAX_MIB 65536

static uint pool_mib = 256;
module_param(pool_mib, uint, 0444);
MODULE_PARM_DESC(pool_mib, "memory that all clients together may take, in MiB");
static uint client_mib = 128;
module_param(client_mib, uint, 0444);
MODULE_PARM_DESC(client_mib, "memory that one client may take, in MiB");
static uint slots = 1;
module_param(slots, uint, 0444);
MODULE_PARM_DESC(slots, "jobs that may run at once");

struct szd_driver szd_driver;
DEFINE_MUTEX(szd_lock);

static const int szd_errnos[] = {
#define SZD_ERRNO(name, number, error, ntstatus, win32) [number] = -(error),
	SASHIZU_STATUSES(SZD_ERRNO)
#undef SZD_ERRNO
};

static int szd_device_open(struct inode *inode, struct file *file)
{
	struct szd_client *client;

	mutex_lock(&szd_lock);
	client = szd_open(&szd_driver);
	mutex_unlock(&szd_lock);
	if (!client)
		return -ENOMEM;
	file->private_data = client;
	return nonseekable_open(inode, file);
}

/* Runs after the last mapping is gone: each one holds a reference of the file. */
static int szd_device_release(struct inode *inode, struct file *file)
{
	mutex_lock(&szd_lock);
	szd_close(&szd_driver, file->private_data);
	mutex_unlock(&szd_lock);
	return 0;
}

static int szd_alloc(struct szd_client *client, struct sashizu_pool_alloc *frame)
{
	struct szd_buffer *buffer;
	struct szd_pages *pages;
	int status;

	mutex_lock(&szd_lock);
	status = szd_pool_charge(&szd_driver, client, frame, &buffer);
	mutex_unlock(&szd_lock);
	if (status != SASHIZU_E_OK)
		return status;
	pages = szd_pages_get(frame->bytes); /* nobody else sees the buffer before it is ready */
	mutex_lock(&szd_lock);
	if (pages)
		szd_pool_ready(buffer, pages);
	else
		szd_pool_drop(&szd_driver, buffer);
	mutex_unlock(&szd_lock);
	return pages ? SASHIZU_E_OK : SASHIZU_E_MEMORY;
}

int szd_os_granted(void *waiter)
{
	complete(waiter);
	return 1;
}

static int szd_wait(struct szd_client *client, struct sashizu_slot *frame)
{
	DECLARE_COMPLETION_ONSTACK(granted);
	struct szd_ticket *ticket;
	long left = 0;
	int status;

	mutex_lock(&szd_lock);
	status = szd_slot_enter(&szd_driver, client, frame, &granted, &ticket);
	if (status == SZD_PENDING) {
		mutex_unlock(&szd_lock);
		left = wait_for_completion_interruptible_timeout(
			&granted, msecs_to_jiffies(frame->timeout_ms));
		mutex_lock(&szd_lock);
		if (szd_slot_cancel(&szd_driver, ticket))
			status = left < 0 ? SASHIZU_E_CANCELLED : SASHIZU_E_TIMEOUT;
		else
			status = SASHIZU_E_OK;
	}
	if (status == SASHIZU_E_OK)
		szd_slot_answer(ticket, frame);
	mutex_unlock(&szd_lock);
	return status;
}

static int szd_serve(struct szd_client *client, u32 function, void *frame)
{
	int status;

	switch (function) {
	case SASHIZU_FN_POOL_ALLOC:
		return szd_alloc(client, frame);
	case SASHIZU_FN_SLOT_WAIT:
		return szd_wait(client, frame);
	default:
		mutex_lock(&szd_lock);
		status = szd_call(&szd_driver, client, function, frame);
		mutex_unlock(&szd_lock);
		return status;
	}
}

/* The answer could not be told: what was given is taken back, as nobody knows of it. */
static void szd_take_back(struct szd_client *client, u32 function, const void *frame)
{
	const struct sashizu_pool_alloc *alloc = frame;
	const struct sashizu_slot *slot = frame;
	struct sashizu_pool_free given = { .handle = alloc->handle };
	struct sashizu_slot done = { };

	mutex_lock(&szd_lock);
	if (function == SASHIZU_FN_POOL_ALLOC) {
		szd_call(&szd_driver, client, SASHIZU_FN_POOL_FREE, &given);
	} else if (function == SASHIZU_FN_SLOT_WAIT) {
		done.ticket = slot->ticket;
		szd_call(&szd_driver, client, SASHIZU_FN_SLOT_DONE, &done);
	}
	mutex_unlock(&szd_lock);
}

static long szd_exchange(struct file *file, u32 function, void __user *user, void *frame,
			 size_t bytes)
{
	int status;

	if (copy_from_user(frame, user, bytes))
		return -EFAULT;
	status = szd_check(function, frame, bytes);
	if (status == SASHIZU_E_OK)
		status = szd_serve(file->private_data, function, frame);
	if (status != SASHIZU_E_OK)
		return szd_errnos[status];
	if (copy_to_user(user, frame, bytes)) {
		szd_take_back(file->private_data, function, frame);
		return -EFAULT;
	}
	return 0;
}

static long szd_device_ioctl(struct file *file, unsigned int code, unsigned long argument)
{
	u32 function = _IOC_NR(code), access = szd_frame_access(function);
	size_t bytes = szd_frame_bytes(function);
	u64 small[SZD_SMALL / sizeof(u64)];
	void *frame = small;
	long result;

	if (_IOC_TYPE(code) != SASHIZU_LINUX_TYPE || !bytes ||
	    _IOC_DIR(code) != (_IOC_READ | _IOC_WRITE))
		return -ENOTTY;
	if (_IOC_SIZE(code) != bytes)
		return szd_errnos[SASHIZU_E_SIZE];
	if ((access & SASHIZU_READ && !(file->f_mode & FMODE_READ)) ||
	    (access & SASHIZU_WRITE && !(file->f_mode & FMODE_WRITE)))
		return szd_errnos[SASHIZU_E_DENIED];
	if (bytes > sizeof(small)) {
		frame = kmalloc(bytes, GFP_KERNEL);
		if (!frame)
			return -ENOMEM;
	}
	result = szd_exchange(file, function, (void __user *)argument, frame, bytes);
	if (frame != small)
		kfree(frame);
	return result;
}

static const struct file_operations szd_operations = {
	.owner = THIS_MODULE,
	.open = szd_device_open,
	.release = szd_device_release,
	.unlocked_ioctl = szd_device_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
	.mmap = szd_mmap,
};

static struct miscdevice szd_device = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "sashizu",
	.mode = 0660,
	.fops = &szd_operations,
};

static int __init szd_init(void)
{
	if (!pool_mib || pool_mib > SZD_MAX_MIB || !client_mib || client_mib > pool_mib || !slots) {
		pr_err("sashizu: asked for pool_mib=%u client_mib=%u slots=%u; give 1 to %u, no more for a client than for all, and a slot\n",
		       pool_mib, client_mib, slots, SZD_MAX_MIB);
		return -EINVAL;
	}
	szd_driver.pool_bytes = (u64)pool_mib * SZ_1M;
	szd_driver.client_bytes = (u64)client_mib * SZ_1M;
	szd_driver.granule = max_t(u32, SZ_64K, PAGE_SIZE);
	szd_driver.slots = slots;
	szd_driver.system = SASHIZU_SYSTEM_LINUX;
	szd_driver.features = SASHIZU_FEATURE_GPU | SASHIZU_FEATURE_PROCESSES |
			      SASHIZU_FEATURE_POOL | SASHIZU_FEATURE_PINNED |
			      SASHIZU_FEATURE_SLOTS | SASHIZU_FEATURE_HINTS |
			      SASHIZU_FEATURE_RUNTIMES;
	return misc_register(&szd_device);
}

static void __exit szd_exit(void)
{
	misc_deregister(&szd_device); /* every file is closed: each one holds the module */
}

module_init(szd_init);
module_exit(szd_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("GPU statistics, pinned memory and turns for sashizu");
