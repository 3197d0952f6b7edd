// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/* Pages of buffers, and where processes see them. */
#include <linux/mm.h>
#include <linux/sched/signal.h>
#include <linux/version.h>

#include "module.h"

#define SZD_HANDLE_SHIFT 32 /* the offset of buffer h is h << 32 */

static void szd_pages_put(struct szd_pages *pages)
{
	while (pages->count)
		put_page(pages->page[--pages->count]); /* one in use elsewhere lives on there */
	kvfree(pages);
}

struct szd_pages *szd_pages_get(u64 bytes)
{
	size_t count = bytes >> PAGE_SHIFT;
	struct szd_pages *pages = kvzalloc(struct_size(pages, page, count), GFP_KERNEL_ACCOUNT);

	if (!pages)
		return NULL;
	while (pages->count < count) {
		struct page *page = NULL;

		if (!fatal_signal_pending(current))
			page = alloc_page(GFP_KERNEL_ACCOUNT | __GFP_ZERO | __GFP_NOWARN |
					  __GFP_RETRY_MAYFAIL);
		if (!page) {
			szd_pages_put(pages);
			return NULL;
		}
		pages->page[pages->count++] = page;
		cond_resched();
	}
	return pages;
}

void szd_os_memory_free(void *memory)
{
	szd_pages_put(memory);
}

void szd_os_memory_place(struct szd_buffer *buffer, struct sashizu_pool_map *map)
{
	map->offset = (u64)buffer->handle << SZD_HANDLE_SHIFT;
	map->pinned = 1;
}

static void szd_vma_open(struct vm_area_struct *vma) /* a copy: fork, or cut in two */
{
	mutex_lock(&szd_lock);
	szd_pool_hold_again(vma->vm_private_data);
	mutex_unlock(&szd_lock);
}

static void szd_vma_close(struct vm_area_struct *vma)
{
	mutex_lock(&szd_lock);
	szd_pool_let_go(&szd_driver, vma->vm_private_data);
	mutex_unlock(&szd_lock);
}

static const struct vm_operations_struct szd_vma_operations = {
	.open = szd_vma_open,
	.close = szd_vma_close,
};

static void szd_vma_flags(struct vm_area_struct *vma)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 3, 0)
	vm_flags_mod(vma, VM_DONTEXPAND | VM_DONTDUMP, VM_MAYEXEC);
#else
	vma->vm_flags |= VM_DONTEXPAND | VM_DONTDUMP;
	vma->vm_flags &= ~VM_MAYEXEC;
#endif
}

int szd_mmap(struct file *file, struct vm_area_struct *vma)
{
	const unsigned int shift = SZD_HANDLE_SHIFT - PAGE_SHIFT;
	unsigned long bytes = vma->vm_end - vma->vm_start, count;
	struct szd_buffer *buffer;
	struct szd_pages *pages;
	int result;

	if (!(vma->vm_flags & VM_SHARED) || vma->vm_flags & VM_EXEC ||
	    vma->vm_pgoff & ((1UL << shift) - 1) || vma->vm_pgoff >> shift > U32_MAX)
		return -EINVAL;
	mutex_lock(&szd_lock);
	buffer = szd_pool_hold(file->private_data, vma->vm_pgoff >> shift, bytes);
	mutex_unlock(&szd_lock);
	if (!buffer)
		return -ENOENT;
	pages = buffer->memory;
	count = pages->count;
	szd_vma_flags(vma);
	result = vm_insert_pages(vma, vma->vm_start, pages->page, &count);
	if (result) { /* what was mapped of it goes with the area */
		mutex_lock(&szd_lock);
		szd_pool_let_go(&szd_driver, buffer);
		mutex_unlock(&szd_lock);
		return result;
	}
	vma->vm_private_data = buffer;
	vma->vm_ops = &szd_vma_operations;
	return 0;
}
