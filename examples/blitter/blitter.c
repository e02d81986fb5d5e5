/* Blitter on the exit path: small fills.  See blitter.py. */
#include "blitter.gen.h"
#include "device.h"

enum { ROW_BYTES = BLITTER_MOST_SIDE * BLITTER_PIXEL_BYTES };	/* at most; a power of two, to be a mask */

struct fill {
	struct device *device;
	__u64 first;	/* offset of its first row, in bytes */
	__u32 bytes;	/* of a row, */
	__u32 painted;	/* and of the first one, painted so far */
};

/* The first row: what is painted of it already, once more behind that. */
static long widen(__u32 i, void *context)
{
	struct fill *fill = context;
	__u32 painted = fill->painted & (ROW_BYTES - 1), more = fill->bytes - painted;
	__u8 *row = memory_at(fill->device, fill->first, fill->bytes);

	if (!row || fill->painted >= fill->bytes)
		return 1;
	if (more > painted)
		more = painted;
	barrier_var(more);	/* or the mask goes, whose point is that the verifier sees it */
	copy(row + painted, row, more & (ROW_BYTES - 1));
	fill->painted = painted + more;
	return 0;
}

/* Another row, after the first one. */
static long repeat(__u32 i, void *context)
{
	struct fill *fill = context;
	__u64 at = fill->first + (__u64)(i + 1) * BLITTER_COLUMNS * BLITTER_PIXEL_BYTES;
	void *from = memory_at(fill->device, fill->first, 0), *to = memory_at(fill->device, at, fill->bytes);

	if (!from || !to)
		return 1;
	copy(to, from, fill->bytes);
	return 0;
}

static __u32 command(struct blitter *blitter, __u32 what)
{
	__u32 x = blitter->latched.dst_x, y = blitter->latched.dst_y;
	__u32 width = blitter->latched.width, height = blitter->latched.height;
	struct fill fill = { .device = blitter->device };
	__u32 *pixel;

	if (what != BLITTER_COMMAND_FILL)
		return BLITTER_DECLINE_NO_FILL;
	if (width > BLITTER_MOST_SIDE || height > BLITTER_MOST_SIDE || width * height > BLITTER_MOST_PIXELS)
		return BLITTER_DECLINE_TOO_LARGE;
	if (x > BLITTER_COLUMNS - width || y > BLITTER_ROWS - height)
		return BLITTER_DECLINE_OUTSIDE;
	trace(blitter->device, "fill %u x %u", width, height);
	if (width && height) {
		fill.first = BLITTER_FRAMEBUFFER + ((__u64)y * BLITTER_COLUMNS + x) * BLITTER_PIXEL_BYTES;
		fill.bytes = width * BLITTER_PIXEL_BYTES;
		fill.painted = BLITTER_PIXEL_BYTES;
		pixel = memory_at(blitter->device, fill.first, BLITTER_PIXEL_BYTES);
		if (!pixel)
			return BLITTER_DECLINE_OUTSIDE;
		WRITE_ONCE(*pixel, blitter->latched.colour);
		loop(8, widen, &fill);		/* 1 pixel, 2, 4, ... 256 */
		loop(height - 1, repeat, &fill);
	}
	WRITE_ONCE(blitter->page->pixels, blitter->page->pixels + width * height);
	WRITE_ONCE(blitter->page->status, STATUS_DONE);
	return DONE;
}

DEVICE(ON(BLITTER_COMMAND, command))
