/* The two inner loops of the loaders on a CPU: one bilinear warp of grey pictures, and their normalisation.

A warp with AVX2 takes about half the time of OpenCV's, because one gather brings all four neighbours of a sample: the
part of a picture that a view touches is first laid out with each pixel beside the one below it. Coordinates are
clamped to the picture, with a frame of one pixel around it where the outside has a grey level of its own, so the
border needs no case of its own. Positions have 1/128 of a pixel, as fine as eight bits a pixel can show.

Where this isn't compiled, or the processor has no AVX2, xraycls/loaders/kernels.py takes OpenCV and NumPy. */

#define Py_LIMITED_API 0x030B0000
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#if defined(__x86_64__) && defined(__GNUC__)
#define HAS_AVX2 1
#include <immintrin.h>
#define AVX2 __attribute__((target("avx2")))
#else
#define HAS_AVX2 0
#define AVX2
#endif

enum { LARGEST = 16384 };  /* pixels that a view may touch across or down: their positions fit in 16 bits, signed */
enum { STEP = 16 };        /* pixels drawn at a time */

typedef struct {
    const uint8_t *pixels;
    Py_ssize_t height, width, row, column; /* column, row: bytes to the next */
} Source;

typedef struct {
    uint8_t *pixels;
    Py_ssize_t height, width, row;
} Target;

typedef struct { /* where a coordinate lies: start + column * by_column + row * by_row */
    double start, by_column, by_row;
} Axis;

typedef struct {
    uint16_t *pairs;
    size_t room;
} Scratch;

#if HAS_AVX2

/* The first and last pixel that a coordinate reaches, from -frame to size - 1 + frame; 0 where that is too many. An axis
that lies outside altogether becomes its nearest edge. */
static int reach(Axis *axis, const Target *out, Py_ssize_t size, int frame, long *first, long *last)
{
    double columns = axis->by_column * (double)(out->width - 1), rows = axis->by_row * (double)(out->height - 1);
    double low = axis->start + fmin(columns, 0) + fmin(rows, 0), high = axis->start + fmax(columns, 0) + fmax(rows, 0);
    double edge = (double)(size - 1 + frame);
    if (!(high - low < LARGEST)) /* not a number, too */
        return 0;
    if (low >= edge || high <= -frame) {
        *axis = (Axis){low >= edge ? edge : -frame, 0, 0};
        low = high = axis->start;
    }
    *first = (long)fmax(floor(low) - 1, -frame);
    *last = (long)fmin(floor(high) + 2, edge);
    return 1;
}

/* A row of pairs: each pixel of one row of the picture beside that of the next, less 128 so that they are signed. */
AVX2 static void pair_rows(const Source *in, long y, long first, long last, int fill, uint16_t *pairs)
{
    long width = (long)in->width, height = (long)in->height, below = y + 1 < height || fill >= 0 ? y + 1 : y;
    const uint8_t *upper = y >= 0 && y < height ? in->pixels + y * in->row : NULL;
    const uint8_t *lower = below >= 0 && below < height ? in->pixels + below * in->row : NULL;
    const uint16_t outside = (uint16_t)((fill ^ 0x80) & 0xff);
    long x = first, end = last < width ? last + 1 : width;
    for (; x < 0; x++)
        *pairs++ = (uint16_t)(outside | outside << 8);
    if (upper && lower && in->column == 1) {
        const __m256i sign = _mm256_set1_epi8((char)0x80);
        for (; x + 32 <= end; x += 32, pairs += 32) {
            __m256i a = _mm256_xor_si256(sign, _mm256_loadu_si256((const __m256i *)(upper + x)));
            __m256i b = _mm256_xor_si256(sign, _mm256_loadu_si256((const __m256i *)(lower + x)));
            __m256i low = _mm256_unpacklo_epi8(a, b), high = _mm256_unpackhi_epi8(a, b);
            _mm256_storeu_si256((__m256i *)pairs, _mm256_permute2x128_si256(low, high, 0x20));
            _mm256_storeu_si256((__m256i *)(pairs + 16), _mm256_permute2x128_si256(low, high, 0x31));
        }
    }
    for (; x < end; x++) {
        uint16_t a = upper ? upper[x * in->column] ^ 0x80 : outside, b = lower ? lower[x * in->column] ^ 0x80 : outside;
        *pairs++ = (uint16_t)(a | b << 8);
    }
    for (; x <= last; x++)
        *pairs++ = (uint16_t)(outside | outside << 8);
}

/* Eight samples, int32 0-255. x and y have 16 bits behind the point; both are within the pairs. */
AVX2 static inline __m256i sample(const uint16_t *pairs, __m256i places, __m256i x, __m256i y)
{
    const __m256i fraction = _mm256_set1_epi32(127), one = _mm256_set1_epi32(128);
    const __m256i each = _mm256_set_epi8(12, 12, 12, 12, 8, 8, 8, 8, 4, 4, 4, 4, 0, 0, 0, 0, 12, 12, 12, 12, 8, 8, 8, 8,
                                         4, 4, 4, 4, 0, 0, 0, 0);
    /* row * pairs a row + column, of the two halves of each number */
    __m256i place = _mm256_madd_epi16(_mm256_blend_epi16(y, _mm256_srli_epi32(x, 16), 0x55), places);
    __m256i four = _mm256_i32gather_epi32((const int *)pairs, place, 2); /* left, below it, right, below that */
    __m256i across = _mm256_and_si256(_mm256_srli_epi32(x, 9), fraction);
    __m256i down = _mm256_shuffle_epi8(_mm256_and_si256(_mm256_srli_epi32(y, 9), fraction), each);
    /* 128 - down for the upper pixels, down for the lower ones */
    down = _mm256_add_epi8(_mm256_xor_si256(down, _mm256_set1_epi16(0x00ff)), _mm256_set1_epi16(0x0081));
    across = _mm256_or_si256(_mm256_sub_epi32(one, across), _mm256_slli_epi32(across, 16));
    __m256i sum = _mm256_madd_epi16(_mm256_maddubs_epi16(down, four), across);
    return _mm256_srai_epi32(_mm256_add_epi32(sum, _mm256_set1_epi32((128 << 14) + (1 << 13))), 14);
}

AVX2 static int warp(const Source *in, const double *matrix, const Target *out, int fill, Scratch *scratch)
{
    int frame = fill >= 0;
    long left, right, top, bottom;
    /* From corners, with the centre of a pixel at a half, to centres. */
    Axis across = {(matrix[0] + matrix[1]) * 0.5 + matrix[2] - 0.5, matrix[0], matrix[1]};
    Axis down = {(matrix[3] + matrix[4]) * 0.5 + matrix[5] - 0.5, matrix[3], matrix[4]};
    if (!reach(&across, out, in->width, frame, &left, &right) || !reach(&down, out, in->height, frame, &top, &bottom))
        return 0;
    long width = right - left + 1, height = bottom - top + 1;
    size_t needed = ((size_t)width * height + 1) * sizeof(uint16_t); /* the last sample has a neighbour of weight 0 */
    if (needed > scratch->room) {
        free(scratch->pairs);
        scratch->pairs = malloc(needed);
        scratch->room = scratch->pairs ? needed : 0;
        if (!scratch->pairs)
            return -1;
    }
    for (long y = top; y <= bottom; y++)
        pair_rows(in, y, left, right, fill, scratch->pairs + (y - top) * width);
    scratch->pairs[width * height] = 0;

    const double unit = 4294967296.0; /* 32 bits behind the point from block to block, 16 within */
    const int64_t step_x = (int64_t)llrint(across.by_column * unit), step_y = (int64_t)llrint(down.by_column * unit);
    const __m256i lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    const __m256i lane_x = _mm256_mullo_epi32(lanes, _mm256_set1_epi32((int)(step_x >> 16)));
    const __m256i lane_y = _mm256_mullo_epi32(lanes, _mm256_set1_epi32((int)(step_y >> 16)));
    const __m256i half_x = _mm256_set1_epi32((int)(step_x >> 13)), half_y = _mm256_set1_epi32((int)(step_y >> 13));
    const __m256i most_x = _mm256_set1_epi32((int)((width - 1) << 16)), least = _mm256_setzero_si256();
    const __m256i most_y = _mm256_set1_epi32((int)((height - 1) << 16));
    const __m256i places = _mm256_set1_epi32((int)(width << 16 | 1));
    const uint16_t *pairs = scratch->pairs;

    for (Py_ssize_t row = 0; row < out->height; row++) {
        /* Rounded to 1/128, not cut off. */
        const double shift = 1.0 / 256;
        int64_t row_x = (int64_t)llrint((across.start + across.by_row * (double)row - left + shift) * unit);
        int64_t row_y = (int64_t)llrint((down.start + down.by_row * (double)row - top + shift) * unit);
        uint8_t *pixels = out->pixels + row * out->row, narrow[STEP];
        for (Py_ssize_t column = 0; column < out->width; column += STEP) {
            Py_ssize_t here = column + STEP <= out->width || out->width < STEP ? column : out->width - STEP;
            __m256i x = _mm256_add_epi32(_mm256_set1_epi32((int)((row_x + here * step_x) >> 16)), lane_x);
            __m256i y = _mm256_add_epi32(_mm256_set1_epi32((int)((row_y + here * step_y) >> 16)), lane_y);
            __m256i next_x = _mm256_add_epi32(x, half_x), next_y = _mm256_add_epi32(y, half_y);
            x = _mm256_min_epi32(_mm256_max_epi32(x, least), most_x);
            y = _mm256_min_epi32(_mm256_max_epi32(y, least), most_y);
            next_x = _mm256_min_epi32(_mm256_max_epi32(next_x, least), most_x);
            next_y = _mm256_min_epi32(_mm256_max_epi32(next_y, least), most_y);
            __m256i first = sample(pairs, places, x, y), second = sample(pairs, places, next_x, next_y);
            __m256i words = _mm256_permute4x64_epi64(_mm256_packs_epi32(first, second), 0xd8);
            __m128i bytes = _mm_packus_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
            if (out->width < STEP) {
                _mm_storeu_si128((__m128i *)narrow, bytes);
                memcpy(pixels, narrow, (size_t)out->width);
            } else
                _mm_storeu_si128((__m128i *)(pixels + here), bytes);
        }
    }
    return 1;
}

static int is_fast(void)
{
    return __builtin_cpu_supports("avx2") != 0;
}

#else

static int warp(const Source *in, const double *matrix, const Target *out, int fill, Scratch *scratch)
{
    (void)in, (void)matrix, (void)out, (void)fill, (void)scratch;
    return 0;
}

static int is_fast(void)
{
    return 0;
}

#endif

AVX2 static void scale(const uint8_t *pixels, float *out, Py_ssize_t count, float mean, float factor)
{
    for (Py_ssize_t i = 0; i < count; i++)
        out[i] = ((float)pixels[i] - mean) * factor;
}

/* A buffer of numbers of one kind and so many dimensions; -1 with an exception for any other. */
static int view_of(PyObject *object, Py_buffer *view, int flags, int dimensions, const char *format, const char *what)
{
    if (PyObject_GetBuffer(object, view, flags | PyBUF_FORMAT) < 0)
        return -1;
    if (view->ndim == dimensions && strcmp(view->format ? view->format : "B", format) == 0)
        return 0;
    PyBuffer_Release(view);
    PyErr_Format(PyExc_ValueError, "%s must have %d dimensions and the format %s", what, dimensions, format);
    return -1;
}

static const char WARP[] =
    "warp(pictures, matrices, outs, fill)\n--\n\n"
    "Draw views of several pictures, without the interpreter's lock; see xraycls.loaders.kernels.warp.";

static PyObject *py_warp(PyObject *module, PyObject *arguments)
{
    PyObject *pictures, *matrices, *outs, *result = NULL;
    int fill;
    (void)module;
    if (!PyArg_ParseTuple(arguments, "OOOi", &pictures, &matrices, &outs, &fill))
        return NULL;
    Py_ssize_t count = PySequence_Size(pictures), held = 0;
    if (count < 0)
        return NULL;
    Py_buffer matrix, *views = calloc(2 * (size_t)count + 1, sizeof(Py_buffer));
    if (!views)
        return PyErr_NoMemory();
    if (view_of(matrices, &matrix, PyBUF_C_CONTIGUOUS, 3, "d", "matrices") < 0)
        goto views_only;
    if (PySequence_Size(outs) != count || matrix.shape[0] != count || matrix.shape[1] != 2 || matrix.shape[2] != 3) {
        PyErr_SetString(PyExc_ValueError, "as many matrices [2, 3] and outs as pictures are needed");
        goto done;
    }
    for (; held < 2 * count; held++) {
        int is_out = held >= count;
        PyObject *item = PySequence_GetItem(is_out ? outs : pictures, is_out ? held - count : held);
        if (!item)
            goto done;
        int failed = view_of(item, views + held, is_out ? PyBUF_STRIDES | PyBUF_WRITABLE : PyBUF_STRIDES, 2, "B",
                             is_out ? "outs" : "pictures"); /* a buffer holds its object */
        Py_DecRef(item);
        if (failed)
            goto done;
        if (views[held].shape[0] < 1 || views[held].shape[1] < 1 || (is_out && views[held].strides[1] != 1)) {
            PyErr_SetString(PyExc_ValueError, "pictures must not be empty, and the pixels of a row of outs lie in a row");
            held++;
            goto done;
        }
    }
    int drawn = 1;
    Scratch scratch = {NULL, 0};
    Py_BEGIN_ALLOW_THREADS;
    for (Py_ssize_t i = 0; i < count && drawn == 1; i++) {
        const Py_buffer *from = views + i, *to = views + count + i;
        Source in = {from->buf, from->shape[0], from->shape[1], from->strides[0], from->strides[1]};
        Target out = {to->buf, to->shape[0], to->shape[1], to->strides[0]};
        drawn = warp(&in, (const double *)matrix.buf + 6 * i, &out, fill, &scratch);
    }
    free(scratch.pairs);
    Py_END_ALLOW_THREADS;
    if (drawn == 1)
        result = Py_NewRef(Py_None);
    else if (drawn == 0)
        PyErr_SetString(PyExc_OverflowError, "a view touches too many pixels");
    else
        PyErr_NoMemory();
done:
    PyBuffer_Release(&matrix);
views_only:
    while (held > 0)
        PyBuffer_Release(views + --held);
    free(views);
    return result;
}

static const char NORMALIZE[] =
    "normalize(pictures, out, means, factors)\n--\n\n"
    "Write (grey - mean) * factor of every channel, without the interpreter's lock; see xraycls.loaders.kernels.normalize.";

static PyObject *py_normalize(PyObject *module, PyObject *arguments)
{
    PyObject *objects[4], *result = NULL;
    Py_buffer views[4];
    static const char *const names[] = {"pictures", "out", "means", "factors"}, *const formats[] = {"B", "f", "f", "f"};
    static const int dimensions[] = {3, 4, 1, 1};
    int held = 0;
    (void)module;
    if (!PyArg_ParseTuple(arguments, "OOOO", objects, objects + 1, objects + 2, objects + 3))
        return NULL;
    for (; held < 4; held++)
        if (view_of(objects[held], views + held, held == 1 ? PyBUF_C_CONTIGUOUS | PyBUF_WRITABLE : PyBUF_C_CONTIGUOUS,
                    dimensions[held], formats[held], names[held]) < 0)
            goto done;
    const Py_ssize_t *in = views[0].shape, *out = views[1].shape;
    if (in[0] != out[0] || in[1] != out[2] || in[2] != out[3] || views[2].shape[0] != out[1] || views[3].shape[0] != out[1]) {
        PyErr_SetString(PyExc_ValueError, "shapes must be [n, H, W], [n, C, H, W], [C] and [C]");
        goto done;
    }
    const Py_ssize_t size = in[1] * in[2], channels = out[1];
    const float *means = views[2].buf, *factors = views[3].buf;
    Py_BEGIN_ALLOW_THREADS;
    for (Py_ssize_t i = 0; i < in[0]; i++)
        for (Py_ssize_t c = 0; c < channels; c++)
            scale((const uint8_t *)views[0].buf + i * size, (float *)views[1].buf + (i * channels + c) * size, size,
                  means[c], factors[c]);
    Py_END_ALLOW_THREADS;
    result = Py_NewRef(Py_None);
done:
    while (held > 0)
        PyBuffer_Release(views + --held);
    return result;
}

static PyMethodDef functions[] = {
    {"warp", py_warp, METH_VARARGS, WARP},
    {"normalize", py_normalize, METH_VARARGS, NORMALIZE},
    {NULL, NULL, 0, NULL},
};

static int begin(PyObject *module)
{
    return PyModule_AddIntConstant(module, "is_fast", is_fast());
}

static PyModuleDef_Slot slots[] = {{Py_mod_exec, begin}, {0, NULL}};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "_kernels", "Inner loops of the loaders, see xraycls.loaders.kernels.", 0, functions, slots,
    NULL, NULL, NULL,
};

PyMODINIT_FUNC PyInit__kernels(void)
{
    return PyModuleDef_Init(&definition);
}
