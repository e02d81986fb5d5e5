/* Draws a picture with the blitter, and looks at what became of it; its status is 0 if all is well. */
#include "guest.h"
#include "blitter.gen.h"

static volatile struct blitter_page *blitter;
static volatile u32 *framebuffer;

static u32 pixel(u32 x, u32 y)
{
	return framebuffer[y * BLITTER_COLUMNS + x];
}

static void order(u32 command, u32 x, u32 y, u32 width, u32 height)
{
	blitter->dst_x = x;
	blitter->dst_y = y;
	blitter->width = width;
	blitter->height = height;
	blitter->command = command;
}

static void fill(u32 x, u32 y, u32 width, u32 height, u32 colour)
{
	blitter->colour = colour;
	order(BLITTER_COMMAND_FILL, x, y, width, height);
	if (blitter->status != STATUS_DONE || pixel(x, y) != colour || pixel(x + width - 1, y + height - 1) != colour)
		fail("a filled pixel", pixel(x, y), colour);
}

int run(void)
{
	u32 before;

	blitter = (void *)option("blitter.base", 0xd1000000);
	framebuffer = (void *)((u64)blitter + 0x100000);

	fill(0, 0, BLITTER_COLUMNS, BLITTER_ROWS, 0x101828);		/* too large for the handler */
	for (u32 y = 0; y < 12; y++)
		for (u32 x = 0; x < 16; x++)
			fill(20 + 38 * x, 20 + 38 * y, 30, 30, (16 * x << 16) | (20 * y << 8) | (255 - 15 * x));
	for (u32 i = 0; i < BLITTER_ROWS; i++)			/* without the blitter: it is memory */
		framebuffer[i * BLITTER_COLUMNS + i * BLITTER_COLUMNS / BLITTER_ROWS] = 0xffffff;
	blitter->src_x = 20;
	blitter->src_y = 20;
	order(BLITTER_COMMAND_COPY, 500, 380, 100, 80);			/* no fill */
	if (pixel(500, 380) != pixel(20, 20) || pixel(599, 459) != pixel(119, 99))
		fail("a copied pixel", pixel(500, 380), pixel(20, 20));

	before = pixel(639, 479);
	order(BLITTER_COMMAND_FILL, 630, 470, 11, 4);			/* outside */
	if (blitter->status != STATUS_OUTSIDE || pixel(639, 479) != before)
		fail("status", blitter->status, STATUS_OUTSIDE);
	print("blitter: ");
	print_number(blitter->pixels);
	print(" pixels painted\n");
	return 0;
}
