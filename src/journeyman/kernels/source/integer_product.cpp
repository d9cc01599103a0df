// Products of float32 or bfloat16 activations with int8 weights, with AVX-512 VNNI or with AVX2.
//
// Activations are quantised with a scale for each row and block of the reduction: to int8 for VNNI (`int8_tile.h`), to
// int16 for AVX2 (`int16_tile.h`). Sums are exact in int32 over one block, float32 over the blocks; scales, bias and
// the array that the product is added to are applied before the only rounding, while the sums are in the cache.
//
// The order of each sum does not depend on the number of threads or the division of the work.
//
// Blocking after Goto and van de Geijn, "Anatomy of high-performance matrix multiplication" (ACM TOMS 34:12).

#include "activations.h"

#if defined(JOURNEYMAN_VNNI)
#include "int8_tile.h"
#else
#include "int16_tile.h"
#endif

namespace {

// One task: some rows of a chunk by one strip of columns.
struct Part {
  index_t row, rows, column, tiles;
};

// Computes outputs of one row from their sums.
template <typename T>
void write_row(const Product& product, const float* sums, index_t column, index_t count, T* out) {
  for (index_t i = 0; i < count; i += Lanes::count, column += Lanes::count, out += Lanes::count) {
    const index_t left = count - i;
    Lanes value = Lanes::load(sums + i);
    if (product.column_scale != nullptr) value = value * load_some(product.column_scale + column, left);
    if (product.bias != nullptr) value = value + load_some(product.bias + column, left);
    if (product.accumulate) value = value + load_some(out, left);
    store_some(value, out, left);
  }
}

// Computes the outputs of one tile, of which `rows` rows exist.
template <typename T>
void write_tile(const Product& product, const float* sums, index_t row, index_t rows, index_t column) {
  const index_t count = std::min(tile_columns, product.columns - column);
  for (index_t i = 0; i < rows; ++i, sums += tile_columns) {
    write_row(product, sums, column, count, static_cast<T*>(product.out) + (row + i) * product.columns + column);
  }
}

// Sums over the blocks are kept until the last one; then they become outputs while they are in the cache.
void multiply(const Product& product, const Blocks& blocks, const Quantised& from, const Part& part,
              index_t first_row) {
  const index_t rows = round_up(part.rows, tile_rows);
  const auto weights = allocate<PackedWeight>(part.tiles * tile_columns * most_block);
  const auto waiting = allocate<float>(blocks.count > 1 ? part.tiles * tile_columns * rows : 0);
  const auto write = product.narrow_out ? write_tile<Brain> : write_tile<float>;
  alignas(64) float whole[tile_rows * tile_columns];
  for (index_t block = 0; block < blocks.count; ++block) {
    const index_t start = block * blocks.length, length = std::min(blocks.length, product.reduction - start);
    const bool is_last = block + 1 == blocks.count;
    pack(product, part.column, part.tiles, start, length, weights.get());
    for (index_t group = 0; group < rows; group += group_rows) {
      for (index_t tile = 0; tile < part.tiles; ++tile) {
        const PackedWeight* packed = weights.get() + tile * tile_columns * most_block;
        for (index_t row = group; row < std::min(rows, group + group_rows); row += tile_rows) {
          const index_t number = from.number(block, part.row + row);
          float* sums = blocks.count > 1 ? waiting.get() + (tile * rows + row) * tile_columns : nullptr;
          multiply_tile(from.values.get() + number * most_block, from.starts.get() + number,
                        from.scales.get() + number, packed, divide_up(length, unit), block == 0 ? nullptr : sums,
                        is_last ? whole : sums);
          if (is_last) {
            write(product, whole, first_row + part.row + row, std::min(tile_rows, part.rows - row),
                  part.column + tile * tile_columns);
          }
        }
      }
    }
  }
}

// Splits columns into strips, and rows into as few parts as give each thread several tasks whose sums fit the cache.
void multiply_chunk(const Product& product, index_t first_row, index_t rows, int threads) {
  const Blocks blocks(product.reduction);
  const auto quantised = product.narrow_in ? quantise<Brain> : quantise<float>;
  const Quantised from = quantised(product, blocks, first_row, rows, threads);
  const index_t strips = divide_up(product.columns, strip_columns);
  const index_t wanted = divide_up(4 * static_cast<index_t>(std::max(threads, 1)), strips);
  const index_t most = divide_up(rows, group_rows), least = divide_up(rows, part_rows);
  const index_t parts = std::clamp<index_t>(wanted, std::min(least, most), most);
  const index_t height = round_up(divide_up(rows, parts), tile_rows);
  in_parallel(strips * parts, threads, [&](index_t i) {
    const index_t row = i % parts * height, column = i / parts * strip_columns;
    if (row >= rows) return;
    const index_t width = std::min(strip_columns, product.columns - column);
    const Part part{row, std::min(height, rows - row), column, divide_up(width, tile_columns)};
    multiply(product, blocks, from, part, first_row);
  });
}

}  // namespace

// The largest integer of an activation: 127 with VNNI, 32767 with AVX2.
extern "C" int journeyman_largest() { return static_cast<int>(largest); }

// The most values of a reduction that share a scale.
extern "C" int journeyman_block() { return static_cast<int>(most_block); }

// Returns 0, or 1 if memory runs out. Every size >= 1.
extern "C" int journeyman_multiply(const JourneymanProduct* product, int threads) {
  try {
    for (index_t row = 0; row < product->rows; row += chunk_rows) {
      multiply_chunk(*product, row, std::min(chunk_rows, product->rows - row), threads);
    }
  } catch (const std::bad_alloc&) {
    return 1;
  }
  return 0;
}
